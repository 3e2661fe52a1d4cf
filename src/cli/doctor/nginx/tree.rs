//! nginx's configuration as nginx reads it: directives in blocks, with what they include in their place.
//!
//! Read by ourselves and not asked of `nginx -T`, which only root may run, and which makes files that are missing.

use std::sync::Arc;

/// A directive, or a block with those inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Directive {
    pub(super) name: String,
    pub(super) values: Vec<String>,
    /// Where it stands.
    pub(super) file: Arc<str>,
    pub(super) inside: Vec<Directive>,
}

impl Directive {
    pub(super) fn value(&self) -> &str {
        self.values.first().map_or("", String::as_str)
    }

    pub(super) fn has(&self, value: &str) -> bool {
        self.values.iter().any(|it| it == value)
    }
}

/// The directives of that name.
pub(super) fn named<'d>(
    directives: &'d [Directive],
    name: &'static str,
) -> impl Iterator<Item = &'d Directive> {
    directives.iter().filter(move |it| it.name == name)
}

/// What a reader needs of the file system.
pub(super) trait Files {
    /// A file's text.
    fn text(&self, path: &str) -> Option<String>;
    /// The files that a pattern of the shell names, in the order of their bytes.
    fn matching(&self, pattern: &str) -> Vec<String>;
}

/// The whole configuration, and what of it could not be read.
#[derive(Debug, Default)]
pub(super) struct Tree {
    pub(super) directives: Vec<Directive>,
    /// Each file that was read, in that order.
    pub(super) files: Vec<Arc<str>>,
    pub(super) unread: Vec<String>,
}

/// How many files nginx may read, and how deep one may include another.
const MOST_FILES: usize = 4096;
const DEEPEST: usize = 20;

impl Tree {
    /// Reads the main file, and what it includes.
    pub(super) fn read(main: &str, files: &dyn Files) -> Self {
        let mut tree = Self::default();
        let folder = main.rsplit_once('/').map_or("", |(folder, _)| folder);
        tree.directives = tree.file(main, folder, files, 0);
        tree
    }

    fn file(
        &mut self,
        path: &str,
        folder: &str,
        files: &dyn Files,
        depth: usize,
    ) -> Vec<Directive> {
        if depth > DEEPEST || self.files.len() >= MOST_FILES {
            return Vec::new();
        }
        let Some(text) = files.text(path) else {
            self.unread.push(path.to_owned());
            return Vec::new();
        };
        let path: Arc<str> = path.into();
        self.files.push(path.clone());
        let mut words = words(&text).into_iter();
        let mut place = Place {
            file: path,
            folder,
            files,
            depth,
        };
        self.block(&mut words, &mut place)
    }

    /// The directives until the block's end, or the file's.
    fn block(
        &mut self,
        words: &mut std::vec::IntoIter<Word>,
        place: &mut Place<'_>,
    ) -> Vec<Directive> {
        let mut directives = Vec::new();
        let mut said = Vec::new();
        while let Some(word) = words.next() {
            let inside = match word {
                Word::Text(text) => {
                    said.push(text);
                    continue;
                }
                Word::Close => break,
                Word::End => Vec::new(),
                Word::Open => {
                    place.depth += 1;
                    // Whoever nests deeper has written no configuration.
                    let inside = if place.depth > 4 * DEEPEST {
                        Vec::new()
                    } else {
                        self.block(words, place)
                    };
                    place.depth -= 1;
                    inside
                }
            };
            let mut values = std::mem::take(&mut said).into_iter();
            let Some(name) = values.next() else { continue };
            let values: Vec<_> = values.collect();
            match (&name[..], &values[..]) {
                ("include", [pattern]) => {
                    let pattern = if pattern.starts_with('/') {
                        pattern.clone()
                    } else {
                        format!("{}/{pattern}", place.folder)
                    };
                    for path in place.files.matching(&pattern) {
                        directives.extend(self.file(
                            &path,
                            place.folder,
                            place.files,
                            place.depth + 1,
                        ));
                    }
                }
                _ => directives.push(Directive {
                    name,
                    values,
                    file: place.file.clone(),
                    inside,
                }),
            }
        }
        directives
    }
}

struct Place<'a> {
    file: Arc<str>,
    folder: &'a str,
    files: &'a dyn Files,
    depth: usize,
}

#[derive(Debug, PartialEq, Eq)]
enum Word {
    Text(String),
    Open,
    Close,
    /// A semicolon.
    End,
}

/// A file's words: quotes and comments as nginx takes them.
fn words(text: &str) -> Vec<Word> {
    let mut words = Vec::new();
    let mut rest = text.chars().peekable();
    while let Some(first) = rest.next() {
        match first {
            _ if first.is_whitespace() => {}
            '#' => while rest.next_if(|c| *c != '\n').is_some() {},
            ';' => words.push(Word::End),
            '{' if is_foreign(&words) => {
                // A program in another language: only its braces count.
                let mut open = 1_u32;
                while open > 0
                    && let Some(c) = rest.next()
                {
                    match c {
                        '{' => open += 1,
                        '}' => open -= 1,
                        _ => {}
                    }
                }
                words.extend([Word::Open, Word::Close]);
            }
            '{' => words.push(Word::Open),
            '}' => words.push(Word::Close),
            '"' | '\'' => {
                let mut word = String::new();
                while let Some(c) = rest.next()
                    && c != first
                {
                    word.push(c);
                    if c == '\\' {
                        word.extend(rest.next());
                    }
                }
                words.push(Word::Text(word));
            }
            _ => {
                let mut word = String::from(first);
                let mut before = first;
                loop {
                    // A brace after a dollar sign is a variable's.
                    let goes_on = |c: &char| {
                        before == '\\'
                            || !(c.is_whitespace() || *c == ';' || (*c == '{' && before != '$'))
                    };
                    let Some(c) = rest.next_if(goes_on) else {
                        break;
                    };
                    before = if before == '\\' { ' ' } else { c };
                    word.push(c);
                }
                words.push(Word::Text(word));
            }
        }
    }
    words
}

fn is_foreign(words: &[Word]) -> bool {
    matches!(words.last(), Some(Word::Text(word)) if word.ends_with("_by_lua_block"))
}

/// Files in memory, for tests.
#[cfg(test)]
pub(super) struct Memory(pub(super) Vec<(&'static str, String)>);

#[cfg(test)]
impl Memory {
    /// One main file.
    pub(super) fn main(text: &str) -> Tree {
        Tree::read(
            "/etc/nginx/nginx.conf",
            &Self(vec![("/etc/nginx/nginx.conf", text.into())]),
        )
    }
}

#[cfg(test)]
impl Files for Memory {
    fn text(&self, path: &str) -> Option<String> {
        let file = self.0.iter().find(|(name, _)| *name == path);
        file.map(|(_, text)| text.clone())
    }

    fn matching(&self, pattern: &str) -> Vec<String> {
        let matching = self.0.iter().map(|(name, _)| *name);
        let mut matching: Vec<_> = matching
            .filter(|name| super::glob::matches(pattern, name))
            .map(ToOwned::to_owned)
            .collect();
        matching.sort_unstable();
        matching
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The configuration as one line.
    fn line(directives: &[Directive]) -> String {
        let one = |it: &Directive| {
            let words = [&it.name].into_iter().chain(&it.values);
            let words: Vec<_> = words.map(|word| format!("<{word}>")).collect();
            let inside = line(&it.inside);
            let end = if inside.is_empty() {
                ";".into()
            } else {
                format!("{{{inside}}}")
            };
            words.join("") + &end
        };
        directives.iter().map(one).collect()
    }

    #[test]
    fn words_are_told_apart_as_nginx_does() {
        for (text, expected) in [
            ("a b;", "<a><b>;"),
            ("a{b c;}# d;\ne;", "<a>{<b><c>;}<e>;"),
            ("a 'b c' \"d;\" e#f;", "<a><b c><d;><e#f>;"),
            (
                "name \"~^(?<x>a{2})$\" ~\\.b;",
                "<name><~^(?<x>a{2})$><~\\.b>;",
            ),
            ("set $a ${b}c;", "<set><$a><${b}c>;"),
            (
                "x_by_lua_block { local a = {1} # \" } b;",
                "<x_by_lua_block>;<b>;",
            ),
            ("a { b { c; } } d;", "<a>{<b>{<c>;}}<d>;"),
            ("a { b;", "<a>{<b>;}"),
            ("} a;", ""),
            ("", ""),
        ] {
            assert_eq!(line(&Memory::main(text).directives), expected, "{text}");
        }
    }

    #[test]
    fn what_is_included_stands_in_its_place_and_knows_its_file() {
        let files = Memory(vec![
            (
                "/etc/nginx/nginx.conf",
                "a; http { include conf.d/*.conf; include missing; b; }".into(),
            ),
            ("/etc/nginx/conf.d/2.conf", "two;".into()),
            (
                "/etc/nginx/conf.d/1.conf",
                "one; include /etc/nginx/s[.]x;".into(),
            ),
            ("/etc/nginx/conf.d/no", "no;".into()),
            ("/etc/nginx/s.x", "x;".into()),
        ]);
        let tree = Tree::read("/etc/nginx/nginx.conf", &files);
        assert_eq!(line(&tree.directives), "<a>;<http>{<one>;<x>;<two>;<b>;}");
        let [_, http] = &tree.directives[..] else {
            panic!()
        };
        assert_eq!(&*http.inside[1].file, "/etc/nginx/s.x");
        assert_eq!(tree.files.len(), 4);
        // nginx would refuse it; nothing is known of what it has.
        assert!(Tree::read("/nowhere", &files).unread == ["/nowhere"]);
    }

    #[test]
    fn a_file_that_includes_itself_ends() {
        let tree = Memory::main("a; include nginx.conf;");
        assert!(tree.files.len() < 30);
        assert!(Memory::main(&"a{".repeat(100_000)).directives.len() == 1);
    }
}
