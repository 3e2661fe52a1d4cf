//! The site's files and its link, whatever dpkg or an admin does to them.

use std::collections::BTreeSet;

use super::harness::*;

on_every_release!(the_site_comes_and_goes_with_the_package);

fn the_site_comes_and_goes_with_the_package(release: &'static Release) {
    let machine = street(release);
    removed_purged_and_installed_again(&machine);
    one_kept_file_beside_new_ones_makes_a_whole(&machine);
    copies_of_dpkgs_keep_nothing_from_starting(&machine);
    an_admins_own_link_is_as_good(&machine);
    what_cannot_be_written_is_told(&machine);
    an_interrupted_installation_is_finished(&machine);
}

/// What version 0.1 had in the place of the site and of the shared file.
const OLD_SHARED: &str = r#"map $http_upgrade $my_app_connection {
    default upgrade;
    ''      '';
}
log_format my_app '$remote_addr - $remote_user [$time_local] '
                  '"$request_method $uri $server_protocol" $status $body_bytes_sent '
                  '"$http_user_agent"';
upstream my_app {
    server unix:/run/my-app/my-app.sock;
    keepalive 16;
}
server {
    listen 80;
    listen [::]:80;
    server_name "~.";
    include snippets/my-app.conf;
    location / {
        include snippets/my-app-proxy.conf;
    }
}"#;
const OLD_PROXY: &str = "proxy_pass http://my_app;
proxy_http_version 1.1;
proxy_set_header Upgrade $http_upgrade;
proxy_set_header Connection $my_app_connection;
proxy_set_header Host $http_host;
proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
proxy_read_timeout 90s;
access_log /var/log/nginx/access.log my_app;";
const OWN_SITE: &str = "server {
    listen 80;
    listen 127.0.0.1:8081;
    server_name mine.test;
    include snippets/my-app.conf;
    location / { include snippets/my-app-proxy.conf; }
}";

fn one_kept_file_beside_new_ones_makes_a_whole(machine: &Machine) {
    let sh = |script: &str| machine.sh(&format!(". /root/words\n{script}"));
    let kept = [
        ("conf.d/my-app.conf", OLD_SHARED, "any.test", "my-app"),
        (
            "snippets/my-app-proxy.conf",
            OLD_PROXY,
            "any.test",
            "my-app",
        ),
        ("sites-available/my-app", OWN_SITE, "mine.test", "debian"),
    ];
    for (path, text, host, others) in kept {
        sh("as_it_comes; restart; dpkg -i /var/tmp/my-app.deb 2>&1");
        machine.write(&format!("/etc/nginx/{path}"), text);
        // A site of the admin's that uses what the package defined then.
        sh(
            "site old 'server { listen 80; server_name old.test; location / { proxy_pass http://my_app; } }'",
        );
        let said = sh("dpkg --force-confold -i /var/tmp/my-app-next.deb");
        sh(&format!(
            "grep -q 'next version' /etc/nginx/{path}.dpkg-dist && ! grep -q 'next version' /etc/nginx/{path}"
        ));
        for when in ["at once", "after a restart of nginx"] {
            let expected = format!("my-app\nmy-app\n{others}");
            let seen = settled(&expected, || {
                sh(&format!(
                    "who 127.0.0.1 {host}; who 127.0.0.1 old.test; who 127.0.0.1 others.test"
                ))
            });
            assert_eq!(seen, expected, "{path}, {when}: {said}");
            sh("nginx -t -q; restart");
        }
        machine.saw(
            "one kept file",
            format!(
                "{path}; defined for it: {}",
                sh("cat /etc/nginx/conf.d/my-app-names.conf | grep my_app | tr '\\n' ' '")
            ),
        );
        sh("dpkg --purge my-app 2>&1; test ! -e /etc/nginx/conf.d/my-app-names.conf");
    }
}

/// Who answers any Host, now and when nginx was restarted.
#[track_caller]
fn answers(machine: &Machine, expected: &str) {
    for when in ["at once", "after a restart of nginx"] {
        let expected = format!("{expected}\n{expected}");
        let seen = settled(&expected, || {
            machine.sh(". /root/words; who 127.0.0.1 any.test; who '[::1]' any.test")
        });
        assert_eq!(seen, expected, "{when}");
        machine.sh(". /root/words; restart");
    }
}

fn removed_purged_and_installed_again(machine: &Machine) {
    let sh = |script: &str| machine.sh(&format!(". /root/words\n{script}"));
    let answers = |expected| answers(machine, expected);
    sh("dpkg -i /var/tmp/my-app.deb 2>&1");
    answers("my-app");
    sh("dpkg --remove my-app 2>&1; test ! -L '/etc/nginx/sites-enabled/~my-app'");
    answers("debian");
    let said = sh("dpkg -i /var/tmp/my-app.deb 2>&1");
    assert_eq!(about_nginx(&said).len(), 1, "{said}");
    answers("my-app");

    // What an admin switched off stays off, and the same by hand brings it back.
    sh("/usr/share/my-app/nginx-site disable");
    answers("debian");
    sh("enable 2>&1");
    answers("my-app");
    sh("rm '/etc/nginx/sites-enabled/~my-app'; systemctl reload nginx");
    let said = sh("dpkg -i /var/tmp/my-app-next.deb 2>&1");
    assert!(about_nginx(&said).is_empty(), "{said}");
    answers("debian");
    let said = sh("dpkg --remove my-app 2>&1; dpkg -i /var/tmp/my-app-next.deb 2>&1");
    assert!(about_nginx(&said).is_empty(), "{said}");
    answers("debian");
    let check = machine.check();
    assert_eq!(
        check.text("nginx-site", "remedy"),
        "/usr/share/my-app/nginx-site enable"
    );
    sh("enable 2>&1");
    answers("my-app");
    // An upgrade that changes nothing for nginx does not make it read its files again.
    let workers = "pgrep -P $(cat /run/nginx.pid) | sort | tr '\\n' ' '";
    let before = sh(workers);
    let said = sh("dpkg -i /var/tmp/my-app-next.deb 2>&1");
    assert!(about_nginx(&said).is_empty(), "{said}");
    assert_eq!(sh(workers), before);

    // Purging nginx deletes all below /etc/nginx.
    sh("apt-get purge -q -y nginx nginx-common 2>&1; test ! -e /etc/nginx; my-app check");
    let said = sh("apt-get install -q -y -o Dpkg::Use-Pty=0 nginx 2>&1");
    machine.saw(
        "nginx purged and installed again",
        about_nginx(&said).join("; "),
    );
    answers("my-app");

    // A file that is missing is seen, and its master brings it back.
    sh("rm /etc/nginx/conf.d/my-app.conf");
    let check = machine.check();
    assert_eq!(
        check.text("nginx-files", "what"),
        "/etc/nginx/conf.d/my-app.conf is missing"
    );
    sh(check.text("nginx-files", "remedy"));
    answers("my-app");
    assert_eq!(machine.check().ids(), BTreeSet::from(["nginx-connections"]));

    sh("dpkg --purge my-app 2>&1");
    answers("debian");
    assert_eq!(
        sh("find /etc/nginx /var/lib/my-app -name '*my-app*' 2>/dev/null || true"),
        ""
    );
}

/// Where nginx reads whatever is in conf.d.
fn copies_of_dpkgs_keep_nothing_from_starting(machine: &Machine) {
    let sh = |script: &str| machine.sh(&format!(". /root/words\n{script}"));
    sh(
        "as_it_comes; sed -i 's,conf.d/[*].conf,conf.d/*,' /etc/nginx/nginx.conf; restart
        dpkg -i /var/tmp/my-app.deb 2>&1; echo '# Mine.' >>/etc/nginx/conf.d/my-app.conf",
    );
    for (how, copy) in [("old", "dist"), ("new", "old")] {
        let said = sh(&format!(
            "dpkg --force-conf{how} -i /var/tmp/my-app-next.deb"
        ));
        let line = format!(
            "nginx read /etc/nginx/conf.d/my-app.conf.dpkg-{copy}, too, so that is in /var/backups now"
        );
        assert!(about_nginx(&said).contains(&&*line), "{said}");
        answers(machine, "my-app");
        sh("dpkg --force-confold -i /var/tmp/my-app.deb 2>&1");
    }
    sh("grep -q '^# Mine' /var/backups/my-app.conf.dpkg-old; dpkg --purge my-app 2>&1");
}

/// As it is the custom: sites-enabled/NAME for sites-available/NAME.
fn an_admins_own_link_is_as_good(machine: &Machine) {
    let sh = |script: &str| machine.sh(&format!(". /root/words\n{script}"));
    let link = "ln -s ../sites-available/my-app /etc/nginx/sites-enabled/my-app";
    let links = || sh("cd /etc/nginx/sites-enabled; ls -d *my-app 2>/dev/null || true");
    sh(&format!(
        "as_it_comes; restart; dpkg -i /var/tmp/my-app.deb 2>&1
         rm '/etc/nginx/sites-enabled/~my-app'; {link}; restart; dpkg -i /var/tmp/my-app-next.deb 2>&1"
    ));
    assert_eq!(links(), "my-app", "it stays where it is");
    answers(machine, "my-app");
    sh("dpkg --remove my-app 2>&1");
    assert_eq!(links(), "");
    answers(machine, "debian");
    // It would lead to nothing.
    sh(&format!("{link}; dpkg --purge my-app 2>&1"));
    assert_eq!(links(), "");
    answers(machine, "debian");
    // What is no link is somebody's file.
    sh(
        "dpkg -i /var/tmp/my-app.deb 2>&1; cd /etc/nginx/sites-enabled
        cp --remove-destination ../sites-available/my-app '~my-app'; echo '# Mine.' >>'~my-app'",
    );
    let said = sh("dpkg -i /var/tmp/my-app-next.deb; dpkg --remove my-app");
    let line = "/etc/nginx/sites-enabled/~my-app still passes requests to my-app, and needs its files for nginx, which a purge removes";
    assert_eq!(about_nginx(&said), [line], "{said}");
    sh(
        "grep -q '^# Mine' '/etc/nginx/sites-enabled/~my-app'; rm '/etc/nginx/sites-enabled/~my-app'; dpkg --purge my-app 2>&1",
    );
}

/// A full disk, and a folder that is read-only.
fn what_cannot_be_written_is_told(machine: &Machine) {
    let sh = |script: &str| machine.sh(&format!(". /root/words\n{script}"));
    sh("as_it_comes; restart; dpkg --unpack /var/tmp/my-app.deb 2>&1; cp /etc/nginx/snippets/my-app* /srv
        mount -t tmpfs -o size=12k tmpfs /etc/nginx/snippets; cp /srv/my-app* /etc/nginx/snippets
        head -c 100k /dev/zero >/etc/nginx/snippets/full 2>/dev/null || true");
    let said = sh("dpkg --configure -a");
    let line = "/etc/nginx/snippets/my-app-listen.conf could not be written: No space left on device; when that is mended: /usr/share/my-app/nginx-site enable";
    assert_eq!(about_nginx(&said), [line], "{said}");
    assert_eq!(
        sh("ls /etc/nginx/snippets"),
        "full\nmy-app-proxy.conf\nmy-app.conf"
    );
    answers(machine, "debian");
    sh("umount /etc/nginx/snippets; /usr/share/my-app/nginx-site restore 2>&1");
    answers(machine, "my-app");
    let said = sh(
        "mount --bind /etc/nginx /etc/nginx; mount -o remount,bind,ro /etc/nginx; dpkg --remove my-app",
    );
    let line = "/etc/nginx/sites-enabled/~my-app cannot be removed, and still brings my-app's site";
    assert_eq!(about_nginx(&said), [line], "{said}");
    sh("restart; umount /etc/nginx; dpkg --purge my-app 2>&1");
    answers(machine, "debian");
}

/// Killed while the link is not there: that is no wish of an admin's.
fn an_interrupted_installation_is_finished(machine: &Machine) {
    let sh = |script: &str| machine.sh(&format!(". /root/words\n{script}"));
    sh(
        "as_it_comes; restart; dpkg -i /var/tmp/my-app.deb 2>&1; mv /usr/sbin/nginx /root/nginx-itself",
    );
    machine.write(
        "/usr/sbin/nginx",
        "#!/bin/sh
if [ \"$1\" = -t ]; then
    # It does not take the site; and when that is gone, somebody pulls the plug.
    [ ! -e '/etc/nginx/sites-enabled/~my-app' ] || exit 1
    pkill -KILL -f /usr/share/my-app/nginx-site
fi
exec /root/nginx-itself \"$@\"",
    );
    sh("chmod +x /usr/sbin/nginx; dpkg -i /var/tmp/my-app-next.deb 2>&1; mv /root/nginx-itself /usr/sbin/nginx
        test ! -e '/etc/nginx/sites-enabled/~my-app'; dpkg -i /var/tmp/my-app.deb 2>&1");
    answers(machine, "my-app");
    sh("dpkg --purge my-app 2>&1");
    // Only unpacked, nothing happens yet.
    sh("dpkg --unpack /var/tmp/my-app.deb 2>&1");
    answers(machine, "debian");
    sh("dpkg --configure -a 2>&1");
    answers(machine, "my-app");
}
