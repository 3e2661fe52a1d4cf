//! nginx on other people's machines: every other site answers as before, and nginx can be restarted.
//!
//! One container is many machines, one after the other: nginx gets another shape each time.

use std::collections::BTreeSet;

use super::harness::*;

on_every_release!(
    other_sites_answer_as_before,
    what_is_in_the_way_is_said_with_the_command_that_brings_the_site,
    one_kept_file_beside_new_ones_makes_a_whole,
    removed_purged_and_installed_again_the_site_comes_and_goes,
);

/// Who answers a Host at an address, before the installation and after it.
struct Asked(&'static str, &'static str, &'static str, &'static str);

/// A machine that has nginx in some shape.
struct Neighbour {
    name: &'static str,
    /// What makes it of a Debian with its nginx as it comes.
    shape: &'static str,
    asked: &'static [Asked],
    /// What the installation says of nginx.
    said: &'static str,
    /// What brings the site, if anything is in the way, and who answers then.
    remedy: Option<(&'static str, &'static [Asked])>,
}

const DONE: &str =
    "nginx passes every Host to my-app that no other site answers, on port 80 and [::]:80 (";

const WELCOME: &[Neighbour] = &[
    Neighbour {
        name: "exact, wildcard and regular-expression names",
        shape: "site 20-names 'server { listen 80; listen [::]:80; server_name exact.test *.wild.test; return 200 named; }
                               server { listen 80; server_name ~^re[0-9]+\\.test$; return 200 regex; }'
                site zz-late  'server { listen 80; server_name ~late; return 200 late; }'",
        asked: &[
            Asked("127.0.0.1", "exact.test", "named", "named"),
            Asked("[::1]", "a.wild.test", "named", "named"),
            Asked("127.0.0.1", "re7.test", "regex", "regex"),
            Asked("127.0.0.1", "too-late.test", "late", "late"),
            Asked("127.0.0.1", "any.test", "debian", "my-app"),
            Asked("[::1]", "any.test", "debian", "my-app"),
        ],
        said: DONE,
        remedy: None,
    },
    Neighbour {
        name: "IPv6 switched off by sysctl",
        shape: "sysctl -q -w net.ipv6.conf.all.disable_ipv6=1",
        asked: &[Asked("127.0.0.1", "any.test", "debian", "my-app"), Asked("[::1]", "any.test", "nobody", "nobody")],
        said: "on port 80 (",
        remedy: None,
    },
    Neighbour {
        name: "no IPv6 at all",
        shape: "rm /etc/nginx/sites-enabled/default; no_ipv6
                site four 'server { listen 80; server_name four.test; return 200 four; }'",
        asked: &[Asked("127.0.0.1", "four.test", "four", "four"), Asked("127.0.0.1", "any.test", "four", "my-app")],
        said: "on port 80 (",
        remedy: None,
    },
    Neighbour {
        name: "no IPv6 at all, and no site on port 80",
        shape: "rm /etc/nginx/sites-enabled/default; no_ipv6",
        asked: &[Asked("127.0.0.1", "any.test", "nobody", "my-app")],
        said: "on port 80 (",
        remedy: None,
    },
    Neighbour {
        name: "ipv6only=off",
        shape: "rm /etc/nginx/sites-enabled/default
                site both 'server { listen [::]:80 ipv6only=off; server_name both.test; return 200 both; }'",
        asked: &[
            Asked("127.0.0.1", "both.test", "both", "both"),
            Asked("[::1]", "both.test", "both", "both"),
            Asked("127.0.0.1", "any.test", "both", "my-app"),
        ],
        said: "on port [::]:80 (",
        remedy: None,
    },
    Neighbour {
        name: "a default_server on an address",
        shape: "site own 'server { listen 127.0.0.1:80 default_server; server_name own.test; return 200 own; }'",
        asked: &[
            Asked("127.0.0.1", "own.test", "own", "own"),
            Asked("127.0.0.1", "any.test", "own", "own"),
            Asked("127.0.0.2", "any.test", "debian", "my-app"),
            Asked("[::1]", "any.test", "debian", "my-app"),
        ],
        said: DONE,
        remedy: None,
    },
    Neighbour {
        name: "an upstream and a log format that are called my_app",
        shape: "site up 'upstream my_app { server 127.0.0.1:8088; } log_format my_app x;
                         server { listen 127.0.0.1:8088; return 200 theirs; }
                         server { listen 80; server_name up.test; location / { proxy_pass http://my_app; } }'",
        asked: &[Asked("127.0.0.1", "up.test", "theirs", "theirs"), Asked("127.0.0.1", "any.test", "debian", "my-app")],
        said: DONE,
        remedy: None,
    },
    Neighbour {
        name: "sites-enabled is not read",
        shape: "sed -i /sites-enabled/d /etc/nginx/nginx.conf",
        asked: &[Asked("127.0.0.1", "any.test", "nobody", "my-app")],
        said: DONE,
        remedy: None,
    },
    Neighbour {
        name: "conf.d is read after sites-enabled, and has a regular expression",
        shape: "sed -i -e '/conf\\.d/d' -e 's,include /etc/nginx/sites-enabled.*,&\\n include /etc/nginx/conf.d/*.conf;,' /etc/nginx/nginx.conf
                echo 'server { listen 80; server_name ~^re; return 200 regex; }' >/etc/nginx/conf.d/re.conf",
        asked: &[Asked("127.0.0.1", "re.test", "regex", "regex"), Asked("127.0.0.1", "any.test", "debian", "my-app")],
        said: DONE,
        remedy: None,
    },
];

const REFUSED: &[Neighbour] = &[
    Neighbour {
        name: "conf.d is not read",
        shape: "sed -i '/conf\\.d/d' /etc/nginx/nginx.conf",
        asked: &[Asked("127.0.0.1", "any.test", "debian", "debian")],
        said: "nginx does not read /etc/nginx/conf.d; add 'include /etc/nginx/conf.d/*.conf;' to http{} in /etc/nginx/nginx.conf, then: /usr/share/my-app/nginx-site enable",
        remedy: Some((
            "sed -i 's,^http {,&\\ninclude /etc/nginx/conf.d/*.conf;,' /etc/nginx/nginx.conf; enable",
            &[Asked("127.0.0.1", "any.test", "debian", "my-app")],
        )),
    },
    Neighbour {
        name: "nginx.org's layout",
        shape: "sed -i -e /sites-enabled/d -e 's/^user www-data;/user nginx;/' /etc/nginx/nginx.conf
                rm -r /etc/nginx/sites-enabled
                id -u nginx >/dev/null 2>&1 && gpasswd -q -d nginx www-data || useradd --system --no-create-home nginx
                echo 'server { listen 80; server_name localhost; return 200 theirs; }' >/etc/nginx/conf.d/default.conf",
        asked: &[Asked("127.0.0.1", "localhost", "theirs", "theirs"), Asked("127.0.0.1", "any.test", "theirs", "theirs")],
        said: "nginx runs as nginx, which may not open /run/my-app/my-app.sock; usermod -aG www-data nginx && /usr/share/my-app/nginx-site enable",
        remedy: Some((
            "usermod -aG www-data nginx && /usr/share/my-app/nginx-site enable",
            &[Asked("127.0.0.1", "localhost", "theirs", "theirs"), Asked("127.0.0.1", "any.test", "theirs", "my-app")],
        )),
    },
    Neighbour {
        name: "a default_server of the admin's",
        shape: "rm /etc/nginx/sites-enabled/default
                site all 'server { listen 80 default_server; server_name all.test; return 200 all; }'",
        asked: &[Asked("127.0.0.1", "all.test", "all", "all"), Asked("127.0.0.1", "any.test", "all", "all")],
        said: "/etc/nginx/sites-enabled/all answers every Host on port 80 that no other site does; put 'include snippets/my-app.conf;' into its server{}, or take its default_server away, then: /usr/share/my-app/nginx-site enable",
        remedy: Some((
            "sed -i 's/ default_server//' /etc/nginx/sites-enabled/all; enable",
            &[Asked("127.0.0.1", "all.test", "all", "all"), Asked("127.0.0.1", "any.test", "all", "my-app")],
        )),
    },
    Neighbour {
        name: "Debian's default site, changed",
        shape: "sed -i 's/try_files.*/return 200 mine;/' /etc/nginx/sites-available/default",
        asked: &[Asked("127.0.0.1", "any.test", "mine", "mine"), Asked("[::1]", "any.test", "mine", "mine")],
        said: "/etc/nginx/sites-enabled/default answers every Host on port 80",
        remedy: Some((
            "rm /etc/nginx/sites-enabled/default; enable",
            &[Asked("127.0.0.1", "any.test", "mine", "my-app")],
        )),
    },
    Neighbour {
        name: "one address of port 80, and nothing else",
        shape: "rm /etc/nginx/sites-enabled/default
                site own 'server { listen 127.0.0.1:80 default_server; server_name own.test; return 200 own; }'",
        asked: &[Asked("127.0.0.1", "any.test", "own", "own"), Asked("127.0.0.2", "any.test", "nobody", "nobody")],
        said: "nginx has port 80 at 127.0.0.1 alone, and must be restarted to have all of it; /usr/share/my-app/nginx-site enable --restart does that",
        remedy: Some((
            "enable --restart",
            &[Asked("127.0.0.1", "any.test", "own", "own"), Asked("127.0.0.2", "any.test", "nobody", "my-app")],
        )),
    },
    Neighbour {
        name: "another server on port 80",
        shape: "rm /etc/nginx/sites-enabled/default
                site side 'server { listen 8080; server_name side.test; return 200 side; }'
                systemctl stop nginx
                systemd-run -q --unit=apache node -e 'require(\"http\").createServer((q, a) => a.end(\"apache\")).listen(80)'
                until curl -s -o /dev/null http://127.0.0.1/; do sleep 0.1; done",
        asked: &[Asked("127.0.0.1", "any.test", "apache", "apache"), Asked("127.0.0.1:8080", "any.test", "side", "side")],
        said: "port 80 cannot be opened (address already in use): node has it; when it is free: /usr/share/my-app/nginx-site enable",
        remedy: Some((
            "systemctl stop apache; enable",
            &[Asked("127.0.0.1", "any.test", "apache", "my-app"), Asked("127.0.0.1:8080", "any.test", "side", "side")],
        )),
    },
    Neighbour {
        name: "an nginx that is broken",
        shape: "restart; echo 'server { listen 80' >/etc/nginx/conf.d/broken.conf",
        asked: &[Asked("127.0.0.1", "any.test", "debian", "debian")],
        said: "nginx was not reloaded, for its configuration is broken; 'nginx -t' tells where; then: /usr/share/my-app/nginx-site enable",
        remedy: Some((
            "rm /etc/nginx/conf.d/broken.conf; enable",
            &[Asked("127.0.0.1", "any.test", "debian", "my-app")],
        )),
    },
];

/// A machine with the words that the shapes are written in.
fn street(release: &'static Release) -> Machine {
    let machine = Machine::with_nginx(release);
    machine.write(
        "/root/words",
        "site() { echo \"$2\" >/etc/nginx/sites-enabled/$1; }
enable() { /usr/share/my-app/nginx-site enable \"$@\"; }
# As where the kernel has no IPv6: the same error, for nginx and for dpkg.
no_ipv6() {
    mkdir -p /run/systemd/system/nginx.service.d
    printf '[Service]\\nRestrictAddressFamilies=~AF_INET6\\n' >/run/systemd/system/nginx.service.d/no-ipv6.conf
    systemctl daemon-reload
}
dpkg_here() {
    if [ -e /run/systemd/system/nginx.service.d ]; then
        systemd-run -q --wait --pipe -p RestrictAddressFamilies=~AF_INET6 dpkg \"$@\"
    else
        dpkg \"$@\"
    fi
}
who() {
    answer=$(curl -s -m 5 -i -H \"Host: $2\" -H 'X-My-App-Mark: 1' \"http://$1/\") || { echo nobody; return; }
    case $answer in
    *[Xx]-[Mm]y-[Aa]pp-[Mm]ark:*) echo my-app ;;
    *'Welcome to nginx!'*) echo debian ;;
    *) echo \"$answer\" | tail -n 1 ;;
    esac
}
as_it_comes() {
    rm -rf /etc/nginx /run/systemd/system/nginx.service.d && cp -a /root/nginx /etc/nginx
    systemctl stop apache 2>/dev/null || true
    systemctl daemon-reload
    sysctl -q -w net.ipv6.conf.all.disable_ipv6=0
}
restart() { systemctl reset-failed nginx; systemctl restart nginx; }",
    );
    machine.sh("cp -a /etc/nginx /root/nginx; cp /srv/share/my-app*.deb /var/tmp/");
    machine
}

/// What an installation said of nginx.
fn about_nginx(said: &str) -> Vec<&str> {
    said.lines()
        .filter_map(|line| line.strip_prefix("my-app: "))
        .filter(|line| line.contains("nginx"))
        .collect()
}

impl Neighbour {
    /// Installs, looks, restarts nginx, looks, tries the remedy, purges, and looks.
    #[track_caller]
    fn try_on(&self, machine: &Machine) {
        let sh = |script: &str| machine.sh(&format!(". /root/words\n{script}"));
        let who = |when: &str, asked: &[Asked], expected: fn(&Asked) -> &'static str| {
            let script: String = asked
                .iter()
                .map(|Asked(address, host, ..)| format!("who {address} {host}\n"))
                .collect();
            let seen = sh(&script);
            let expected: Vec<_> = asked.iter().map(expected).collect();
            assert_eq!(
                seen.lines().collect::<Vec<_>>(),
                expected,
                "{}: {when}",
                self.name
            );
        };
        // A neighbour that is broken has been so since its last start.
        let broken = self.shape.contains("broken");
        sh(&format!(
            "as_it_comes\n{}\n{}",
            self.shape,
            if broken { "" } else { "restart" }
        ));
        who("before", self.asked, |asked| asked.2);
        let said = sh("dpkg_here -i /var/tmp/my-app.deb");
        machine.assert_active();
        let ours: Vec<_> = about_nginx(&said);
        assert_eq!(ours.len(), 1, "{}: {said}", self.name);
        assert!(ours[0].contains(self.said), "{}: {said}", self.name);
        who("after", self.asked, |asked| asked.3);
        if !broken {
            sh("restart");
            who("after a restart of nginx", self.asked, |asked| asked.3);
        }
        if let Some((remedy, asked)) = self.remedy {
            sh(remedy);
            who("with the remedy", asked, |asked| asked.3);
            sh("restart");
            who(
                "with the remedy, after a restart of nginx",
                asked,
                |asked| asked.3,
            );
        }
        let check = machine.check();
        let wrong = [
            "nginx-site",
            "nginx-files",
            "nginx-conf-d",
            "nginx-broken",
            "port80",
        ]
        .into_iter()
        .filter(|id| check.get(id).is_some());
        assert_eq!(wrong.collect::<Vec<_>>(), [""; 0], "{}", self.name);
        sh("dpkg_here --purge my-app 2>&1");
        if self.remedy.is_none() {
            who("purged", self.asked, |asked| asked.2);
        }
        sh("restart");
        let answers: Vec<_> = self
            .asked
            .iter()
            .map(|Asked(address, host, before, after)| {
                format!("{host} at {address}: {before}, {after}")
            })
            .collect();
        machine.saw(
            self.name,
            format!("{}\n        my-app: {}", answers.join("; "), ours[0]),
        );
    }
}

fn other_sites_answer_as_before(release: &'static Release) {
    let machine = street(release);
    for neighbour in WELCOME {
        neighbour.try_on(&machine);
    }
}

fn what_is_in_the_way_is_said_with_the_command_that_brings_the_site(release: &'static Release) {
    let machine = street(release);
    for neighbour in REFUSED {
        neighbour.try_on(&machine);
    }
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

fn one_kept_file_beside_new_ones_makes_a_whole(release: &'static Release) {
    let machine = street(release);
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
            let seen = sh(&format!(
                "who 127.0.0.1 {host}; who 127.0.0.1 old.test; who 127.0.0.1 others.test"
            ));
            assert_eq!(
                seen,
                format!("my-app\nmy-app\n{others}"),
                "{path}, {when}: {said}"
            );
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

fn removed_purged_and_installed_again_the_site_comes_and_goes(release: &'static Release) {
    let machine = street(release);
    let sh = |script: &str| machine.sh(&format!(". /root/words\n{script}"));
    let answers = |expected: &str| {
        for when in ["at once", "after a restart of nginx"] {
            assert_eq!(
                sh("who 127.0.0.1 any.test; who '[::1]' any.test"),
                format!("{expected}\n{expected}"),
                "{when}"
            );
            sh("restart");
        }
    };
    sh("dpkg -i /var/tmp/my-app.deb 2>&1");
    answers("my-app");
    sh("dpkg --remove my-app 2>&1; test ! -L '/etc/nginx/sites-enabled/~my-app'");
    answers("debian");
    let said = sh("dpkg -i /var/tmp/my-app.deb 2>&1");
    assert_eq!(about_nginx(&said).len(), 1, "{said}");
    answers("my-app");

    // What an admin switched off stays off, and the same by hand brings it back.
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
