//! Does nginx choose machines by their numbers in session ids?

use super::super::finding::{Finding, Id};
use super::tree::{Tree, named};

/// A map from a session id to a machine, as nginx-machines.conf of the examples has it, wants numbers that somebody
/// chose. `number`: this machine's, 0 if nobody did.
pub(super) fn judge(tree: &Tree, number: u16) -> Option<Finding> {
    let http = named(&tree.directives, "http");
    let mut maps = http.flat_map(|http| named(&http.inside, "map"));
    let map = maps.find(|map| map.value() == "$arg_sid")?;
    (number == 0).then(|| {
        Finding::warning(
            Id::MachineNumber,
            format!(
                "{}: nginx chooses machines by session ids, and this machine has no number of its own in [bridge]",
                map.file
            ),
            "numbers that are made from /etc/machine-id may be the same on two machines: polling clients of the one \
             would be sent to the other",
            "set machine = N in [bridge], another one on each machine, and: systemctl restart my-app.service",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::super::tree::Files;
    use super::*;

    struct One(&'static str);

    impl Files for One {
        fn text(&self, _: &str) -> Option<String> {
            Some(self.0.to_owned())
        }

        fn matching(&self, _: &str) -> Vec<String> {
            Vec::new()
        }
    }

    #[test]
    fn a_map_of_session_ids_wants_a_number() {
        let judged = |text: &'static str, number| {
            judge(&Tree::read("/etc/nginx/nginx.conf", &One(text)), number).is_some()
        };
        let map = "http { map $arg_sid $machine { default all; \"~^.{16}AB\" one; } }";
        assert!(judged(map, 0) && !judged(map, 1));
        assert!(!judged(
            "http { map $http_upgrade $up { default upgrade; } }",
            0
        ));
    }
}
