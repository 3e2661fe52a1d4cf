//! Lists of members, of which a fleet has many: compared in one pass.

use std::collections::{HashMap, HashSet};

use socketioxide_core::Sid;

use crate::wire::frame::BusMember;

/// Those of `before` that are not among `now`.
pub(super) fn gone(before: Vec<BusMember>, now: &[BusMember]) -> Vec<BusMember> {
    let present: HashMap<Sid, &BusMember> = now.iter().map(|member| (member.id, member)).collect();
    let mut gone = before;
    gone.retain(|member| present.get(&member.id).is_none_or(|it| *it != member));
    gone
}

/// Those of `members` with one of these ids.
pub(super) fn with_ids(mut members: Vec<BusMember>, ids: &[Sid]) -> Vec<BusMember> {
    let ids: HashSet<Sid> = ids.iter().copied().collect();
    members.retain(|member| ids.contains(&member.id));
    members
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    fn members(count: u16) -> Vec<BusMember> {
        let member = |slot| BusMember {
            id: format!("{slot:016}").parse().unwrap(),
            slot,
            pid: 1,
            machine: "a".into(),
        };
        (0..count).map(member).collect()
    }

    #[test]
    fn who_is_gone_or_is_another_by_now_and_who_is_named() {
        let before = members(4);
        let mut now = members(3);
        now[1].pid = 2;
        let expected = [before[1].clone(), before[3].clone()];
        assert_eq!(gone(before.clone(), &now), expected);
        let ids = [before[3].id, before[1].id];
        assert_eq!(with_ids(before.clone(), &ids), expected);
    }

    #[test]
    fn as_many_as_the_hub_tells_are_no_work() {
        let all = members(16_384);
        let ids: Vec<_> = all.iter().map(|member| member.id).collect();
        let began = Instant::now();
        assert!(gone(all.clone(), &all).is_empty());
        assert_eq!(with_ids(all.clone(), &ids).len(), all.len());
        assert!(began.elapsed() < Duration::from_secs(1));
    }
}
