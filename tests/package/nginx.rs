//! nginx: broken by its admin, and tuned for many clients.

use super::harness::*;

on_every_release!(
    a_broken_nginx_breaks_no_installation,
    a_tuned_nginx_carries_three_thousand_clients,
    a_tuning_that_nginx_refuses_is_taken_back,
);

const COMPLAINT: &str = "my-app: nginx was not reloaded, for its configuration is broken";

fn a_broken_nginx_breaks_no_installation(release: &'static Release) {
    let machine = Machine::with_nginx(release);
    machine.write("/etc/nginx/conf.d/broken.conf", "server { listen 80");
    for said in [machine.install(), {
        let said = machine.upgrade_with("");
        assert!(said.ok, "{}", said.text);
        said.text
    }] {
        let ours: Vec<_> = said
            .lines()
            .filter(|line| line.starts_with("my-app:"))
            .collect();
        assert_eq!(ours.len(), 1, "{said}");
        assert!(ours[0].starts_with(COMPLAINT), "{said}");
        machine.saw("with a broken nginx", ours[0]);
        machine.assert_active();
        machine.echo("http://127.0.0.1:3000", "upgrade");
    }
    // What the line says.
    machine.sh("rm /etc/nginx/conf.d/broken.conf; /usr/share/my-app/nginx-site enable");
    machine.echo("http://127.0.0.1", "upgrade");
    machine.write("/etc/nginx/conf.d/broken.conf", "server { listen 80");
    machine.sh("apt-get purge -q -y my-app");
}

fn a_tuned_nginx_carries_three_thousand_clients(release: &'static Release) {
    let machine = Machine::serving(release);
    let check = machine.sh("my-app check");
    assert!(check.contains("nginx has 768 connections"), "{check}");
    machine.saw("tune-nginx", machine.sh("/usr/share/my-app/tune-nginx"));
    let check = machine.sh("my-app check");
    assert!(!check.contains("(nginx"), "{check}");
    let again = machine.sh("/usr/share/my-app/tune-nginx");
    assert!(again.contains("has these values already"), "{again}");
    machine.echo("http://127.0.0.1", "upgrade");

    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(machine.talk(
            "hold.mjs --url http://127.0.0.1 --transport websocket --clients 1000 --every 10000 --deadline 200",
        ));
    }
    // Connections of nginx to the server: by Unix socket, none by TCP.
    let unix = machine.number("ss -Hxn state connected | grep -c /run/my-app/my-app.sock");
    let tcp =
        machine.number("ss -Htn state established '( dport = :3000 or sport = :3000 )' | wc -l");
    assert!(
        unix >= 3000 && tcp == 0,
        "{unix} by Unix socket, {tcp} by TCP"
    );
    machine.saw(
        "connections of nginx to the server",
        format!("{unix} by Unix socket, {tcp} by TCP"),
    );
    for client in clients {
        let figures = client.quit();
        assert_eq!(
            (
                figures["connected"].as_u64(),
                figures["disconnects"].as_u64()
            ),
            (Some(1000), Some(0)),
            "{figures}"
        );
    }
}

fn a_tuning_that_nginx_refuses_is_taken_back(release: &'static Release) {
    let machine = Machine::serving(release);
    let before = machine.sh("sha256sum /etc/nginx/nginx.conf");
    // What the tool would add is there already, where it does not look.
    machine.sh(
        "echo 'worker_rlimit_nofile 4096;' >/etc/nginx/modules-enabled/90-limit.conf; nginx -t -q",
    );
    let said = machine.try_sh("/usr/share/my-app/tune-nginx");
    assert!(
        !said.ok && said.text.contains("nothing was changed"),
        "{}",
        said.text
    );
    assert_eq!(machine.sh("sha256sum /etc/nginx/nginx.conf"), before);
    assert_eq!(machine.sh("ls /etc/nginx | grep before-my-app || true"), "");
    machine.sh("nginx -t -q");
    // Other ways to write it, and a disk that is full.
    machine.sh("rm /etc/nginx/modules-enabled/90-limit.conf
        mkdir /srv/nginx; cd /srv/nginx; mount -t tmpfs -o size=20k tmpfs .; ln -sf /srv/nginx/nginx.conf /etc/nginx/nginx.conf");
    for (events, expected) in [
        (
            "events { worker_connections 768; } # events {",
            "768; } # events {",
        ),
        (
            "# worker_connections 1;\nworker_rlimit_nofile 9999; events\n{ }",
            "# worker_connections 1;",
        ),
    ] {
        machine.write("/srv/nginx/nginx.conf", &format!("{events}\nhttp {{ }}"));
        machine.sh(
            "cd /srv/nginx; cp nginx.conf /root/before; head -c 100k /dev/zero >full 2>/dev/null || true",
        );
        let said = machine.try_sh("/usr/share/my-app/tune-nginx 1000");
        assert!(!said.ok, "{}", said.text);
        machine.sh("cmp /root/before /srv/nginx/nginx.conf; rm /srv/nginx/full; /usr/share/my-app/tune-nginx 1000");
        let now = machine.sh("cat /etc/nginx/nginx.conf; nginx -t -q");
        assert!(now.contains(&expected.replace("768", "1000")), "{now}");
        assert!(
            now.contains("worker_connections 1000;") && now.contains("worker_rlimit_nofile 1512;"),
            "{now}"
        );
        assert!(!now.contains("9999"), "{now}");
        let again = machine.sh("/usr/share/my-app/tune-nginx 1000");
        assert!(again.contains("has these values already"), "{again}");
        machine.sh("rm /srv/nginx/*.before*");
    }
}
