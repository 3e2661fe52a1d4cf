//! The patterns of `include`: those of the shell, as glob(7) has them.

use std::fs;

/// The files of this machine that a pattern names, in the order of their bytes.
pub(super) fn files(pattern: &str) -> Vec<String> {
    if !pattern.contains(['*', '?', '[']) {
        return vec![pattern.to_owned()];
    }
    let mut found = vec![String::new()];
    for part in pattern.split('/').skip(1) {
        found = found
            .iter()
            .flat_map(|folder| entries(folder, part))
            .collect();
    }
    found
}

fn entries(folder: &str, part: &str) -> Vec<String> {
    let names = fs::read_dir(format!("{folder}/"));
    let names = names.into_iter().flatten().flatten();
    let names = names.filter_map(|entry| entry.file_name().into_string().ok());
    let mut matching: Vec<_> = names.filter(|name| part_matches(part, name)).collect();
    matching.sort_unstable();
    matching
        .into_iter()
        .map(|name| format!("{folder}/{name}"))
        .collect()
}

/// Whether a path fits, part by part.
#[cfg(test)]
pub(super) fn matches(pattern: &str, path: &str) -> bool {
    let (patterns, parts) = (pattern.split('/'), path.split('/'));
    patterns.clone().count() == parts.clone().count()
        && patterns
            .zip(parts)
            .all(|(pattern, part)| part_matches(pattern, part))
}

fn part_matches(pattern: &str, name: &str) -> bool {
    // A hidden file wants to be named.
    (!name.starts_with('.') || pattern.starts_with('.')) && fits(pattern, name)
}

fn fits(pattern: &str, name: &str) -> bool {
    let mut rest = pattern.chars();
    let Some(first) = rest.next() else {
        return name.is_empty();
    };
    let after = rest.as_str();
    if first == '*' {
        // Several in a row are one.
        let after = after.trim_start_matches('*');
        let ends = name.char_indices().map(|(at, _)| at).chain([name.len()]);
        return ends
            .filter_map(|at| name.get(at..))
            .any(|name| fits(after, name));
    }
    let mut chars = name.chars();
    let Some(c) = chars.next() else { return false };
    let name = chars.as_str();
    match (first, after.split_once(']')) {
        ('?', _) => fits(after, name),
        ('[', Some((set, after))) => in_set(set, c) && fits(after, name),
        _ => first == c && fits(after, name),
    }
}

/// Whether a set such as `a-c_` or `!.` has the character.
fn in_set(set: &str, c: char) -> bool {
    let (set, not) = match set.strip_prefix(['!', '^']) {
        Some(set) => (set, true),
        None => (set, false),
    };
    let set: Vec<_> = set.chars().collect();
    let in_range = |it: &[char]| matches!(it, [from, '-', to] if (*from..=*to).contains(&c));
    (set.contains(&c) || set.windows(3).any(in_range)) != not
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_name_files_as_in_a_shell() {
        for (pattern, path, fits) in [
            ("/a/*.conf", "/a/b.conf", true),
            ("/a/*.conf", "/a/.b.conf", false),
            ("/a/*", "/a/~my-app", true),
            ("/a/*", "/a/b/c", false),
            ("/*/b", "/a/b", true),
            ("/a/x[.]conf", "/a/x.conf", true),
            ("/a/x[.]conf", "/a/xyconf", false),
            ("/a/[a-c]?", "/a/b1", true),
            ("/a/[!a-c]?", "/a/b1", false),
            ("/a/*a*b*", "/a/xaxbx", true),
            ("/a/*a*b*", "/a/xbxax", false),
            ("/a/[", "/a/[", true),
        ] {
            assert_eq!(matches(pattern, path), fits, "{pattern} {path}");
        }
    }

    #[test]
    fn files_come_in_the_order_of_their_bytes() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b.conf", "~a.conf", "A.conf", "c"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        let folder = dir.path().to_str().unwrap();
        let names = ["A", "b", "~a"].map(|name| format!("{folder}/{name}.conf"));
        assert_eq!(files(&format!("{folder}/*.conf")), names);
        // nginx complains of one that is named and not there.
        assert_eq!(files("/nonexistent/a"), ["/nonexistent/a"]);
    }
}
