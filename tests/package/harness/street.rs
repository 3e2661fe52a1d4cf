//! nginx on other people's machines: one container is many of them, one after the other; nginx gets another shape each
//! time.

use std::thread::sleep;
use std::time::{Duration, Instant};

use super::{Machine, Release};

/// Who answers a Host at an address, before the installation and after it.
pub struct Asked(
    pub &'static str,
    pub &'static str,
    pub &'static str,
    pub &'static str,
);

/// A machine that has nginx in some shape.
pub struct Neighbour {
    pub name: &'static str,
    /// What makes it of a Debian with its nginx as it comes.
    pub shape: &'static str,
    pub asked: &'static [Asked],
    /// What the installation says of nginx.
    pub said: &'static str,
    /// What brings the site, if anything is in the way, and who answers then.
    pub remedy: Option<(&'static str, &'static [Asked])>,
}

/// A machine with the words that the shapes are written in.
pub fn street(release: &'static Release) -> Machine {
    let machine = Machine::with_nginx(release);
    machine.write(
        "/root/words",
        "site() { echo \"$2\" >\"/etc/nginx/sites-enabled/$1\"; }
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
    case $1 in
    # As a load balancer does that names the client first.
    proxy:*) more=--haproxy-protocol ;;
    *) more= ;;
    esac
    answer=$(curl $more -s -m 5 -i -H \"Host: $2\" -H 'X-My-App-Mark: 1' \"http://${1#proxy:}/\") || { echo nobody; return; }
    case $answer in
    *[Xx]-[Mm]y-[Aa]pp-[Mm]ark:*) echo my-app ;;
    *'Welcome to nginx!'*) echo debian ;;
    *) echo \"$answer\" | tail -n 1 ;;
    esac
}
as_it_comes() {
    rm -rf /etc/nginx /srv/nginx && cp -a /root/nginx /etc/nginx
    systemctl stop apache 2>/dev/null || true
    if [ -e /run/systemd/system/nginx.service.d ]; then
        rm -r /run/systemd/system/nginx.service.d
        systemctl daemon-reload
    fi
    sysctl -q -w net.ipv6.conf.all.disable_ipv6=0
}
restart() { systemctl reset-failed nginx; systemctl restart nginx; }",
    );
    machine.sh("cp -a /etc/nginx /root/nginx; cp /srv/share/my-app*.deb /var/tmp/");
    machine
}

/// What is seen, as soon as it is what is expected, or after three seconds: a worker of nginx from before a reload may
/// answer a moment longer.
pub fn settled(expected: &str, see: impl Fn() -> String) -> String {
    let until = Instant::now() + Duration::from_secs(3);
    loop {
        let seen = see();
        if seen == expected || Instant::now() >= until {
            return seen;
        }
        sleep(Duration::from_millis(100));
    }
}

/// What an installation said of nginx.
pub fn about_nginx(said: &str) -> Vec<&str> {
    said.lines()
        .filter_map(|line| line.strip_prefix("my-app: "))
        .filter(|line| line.contains("nginx"))
        .collect()
}

impl Neighbour {
    /// Installs, looks, restarts nginx, looks, tries the remedy, purges, and looks.
    #[track_caller]
    pub fn try_on(&self, machine: &Machine) {
        let sh = |script: &str| machine.sh(&format!(". /root/words\n{script}"));
        let who = |when: &str, asked: &[Asked], expected: fn(&Asked) -> &'static str| {
            let script: String = asked
                .iter()
                .map(|Asked(address, host, ..)| format!("who {address} {host}\n"))
                .collect();
            let expected: Vec<_> = asked.iter().map(expected).collect();
            let seen = settled(&expected.join("\n"), || sh(&script));
            assert_eq!(seen, expected.join("\n"), "{}: {when}", self.name);
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
