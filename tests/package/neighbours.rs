//! nginx on other people's machines: every other site answers as before, and nginx can be restarted.

use super::harness::*;

on_every_release!(
    other_sites_answer_as_before,
    what_is_in_the_way_is_said_with_the_command_that_brings_the_site,
);

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
    Neighbour {
        name: "tabs, quotes, comments, and folders without files",
        shape: "printf 'user\twww-data; # {\npid \"/run/nginx.pid\";\nevents\n{\n\tworker_connections 768;\n}\nhttp\n{ # http {\n\tinclude mime.types;\n\t# include /etc/nginx/x;\n\tinclude\n\t\t\"/etc/nginx/conf.d/*.conf\"; include none/*; include '\\''sites-enabled/*'\\'';}' >/etc/nginx/nginx.conf
                mkdir /etc/nginx/none",
        asked: &[Asked("127.0.0.1", "any.test", "debian", "my-app"), Asked("[::1]", "any.test", "debian", "my-app")],
        said: DONE,
        remedy: None,
    },
    Neighbour {
        name: "/etc/nginx is a link, and so is sites-enabled",
        shape: "mkdir /srv/nginx; mv /etc/nginx/sites-enabled /srv/nginx/sites; mv /etc/nginx /srv/nginx/etc
                ln -s /srv/nginx/etc /etc/nginx; ln -s /srv/nginx/sites /etc/nginx/sites-enabled",
        asked: &[Asked("127.0.0.1", "any.test", "debian", "my-app")],
        said: DONE,
        remedy: None,
    },
    Neighbour {
        name: "a load balancer in front, with the PROXY protocol",
        shape: "rm /etc/nginx/sites-enabled/default
                site lb 'server { listen 80 proxy_protocol; server_name lb.test; return 200 lb; }'",
        asked: &[
            Asked("proxy:127.0.0.1", "lb.test", "lb", "lb"),
            Asked("proxy:127.0.0.1", "any.test", "lb", "my-app"),
        ],
        said: "on port 80 (",
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
    Neighbour {
        name: "conf.d is read twice",
        shape: "sed -i 's,^http {,&\ninclude /etc/nginx/conf.d/*.conf;,' /etc/nginx/nginx.conf",
        asked: &[Asked("127.0.0.1", "any.test", "debian", "debian")],
        said: "nginx cannot read /etc/nginx/conf.d/my-app.conf where it does, so that is taken away (duplicate ",
        remedy: Some((
            "cp /root/nginx/nginx.conf /etc/nginx/; /usr/share/my-app/nginx-site restore",
            &[Asked("127.0.0.1", "any.test", "debian", "my-app")],
        )),
    },
    Neighbour {
        name: "conf.d is for one server, and http{} reads snippets",
        shape: "sed -i 's,^.*conf\\.d.*,include /etc/nginx/snippets/*.conf;,' /etc/nginx/nginx.conf
                rm /etc/nginx/sites-enabled/default /etc/nginx/snippets/*
                site one 'server { listen 80; server_name one.test; include conf.d/*.conf; return 200 one; }'",
        asked: &[Asked("127.0.0.1", "one.test", "one", "one"), Asked("127.0.0.1", "any.test", "one", "one")],
        said: "nginx cannot read /etc/nginx/conf.d/my-app.conf and /etc/nginx/snippets/my-app-proxy.conf and /etc/nginx/snippets/my-app.conf where it does, so that is taken away (",
        remedy: Some((
            "cp /root/nginx/nginx.conf /etc/nginx/; sed -i 's/include[^;]*;//' /etc/nginx/sites-enabled/one
             /usr/share/my-app/nginx-site restore",
            &[Asked("127.0.0.1", "one.test", "one", "one"), Asked("127.0.0.1", "any.test", "one", "my-app")],
        )),
    },
    Neighbour {
        name: "a blank in a site's file name, and a name that stands for none",
        shape: "rm /etc/nginx/sites-enabled/default
                site my\\ site 'server { listen 80; server_name --; return 200 none; }'",
        asked: &[Asked("127.0.0.1", "any.test", "none", "none")],
        said: "/etc/nginx/sites-enabled/my site answers every Host on port 80",
        remedy: Some((
            "sed -i 's/--/some.test/' '/etc/nginx/sites-enabled/my site'; enable",
            &[Asked("127.0.0.1", "some.test", "none", "none"), Asked("127.0.0.1", "any.test", "none", "my-app")],
        )),
    },
];

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
