//! Readers: from one TOML value to one typed setting, or to what is wrong with it.
//!
//! A reader never stops at the first mistake of a list, and never looks at another key. Its
//! problems carry byte ranges; only `keys` knows the text and turns them into lines.

use std::fmt::Display;
use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use toml::Spanned;
use toml::de::DeValue;

use super::choices::Choices;

/// What is wrong with the piece of the file at `span`. An empty one is a value that is not to be shown.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) span: Range<usize>,
    pub(super) text: String,
}

/// A setting, or everything that is wrong with its value.
pub(super) type Read<T> = Result<T, Vec<Problem>>;

/// How every fault of a duration explains durations.
const DURATION_FORM: &str =
    "write a number with a unit, in quotes, such as \"25s\", \"1m 30s\" or \"500ms\"";

/// One value of the file.
#[derive(Clone, Copy)]
pub(super) struct Value<'a>(pub(super) &'a Spanned<DeValue<'a>>);

impl<'a> Value<'a> {
    /// A whole number within `range`.
    pub(super) fn whole<T>(self, range: RangeInclusive<T>) -> Read<T>
    where
        T: TryFrom<u64> + PartialOrd + Display,
    {
        let DeValue::Integer(number) = self.0.get_ref() else {
            return self.wrong_type("a whole number");
        };
        u64::from_str_radix(number.as_str(), number.radix())
            .ok()
            .and_then(|number| T::try_from(number).ok())
            .filter(|number| range.contains(number))
            .ok_or_else(|| {
                let (least, most) = (range.start(), range.end());
                self.problem(format!(
                    "out of range; write a whole number from {least} to {most}"
                ))
            })
    }

    /// `true` or `false`.
    pub(super) fn truth(self) -> Read<bool> {
        match self.0.get_ref() {
            DeValue::Boolean(truth) => Ok(*truth),
            _ => self.wrong_type("true or false"),
        }
    }

    /// A string that `check` turns into the setting, or refuses with the reason.
    pub(super) fn checked<T, E: Display>(self, check: impl Fn(&str) -> Result<T, E>) -> Read<T> {
        match self.0.get_ref() {
            DeValue::String(text) => {
                check(text).map_err(|problem| self.problem(problem.to_string()))
            }
            _ => self.wrong_type("a string"),
        }
    }

    /// As [`checked`](Self::checked), but what is wrong is told without the value: there may be a password in it.
    pub(super) fn secret<T, E: Display>(self, check: impl Fn(&str) -> Result<T, E>) -> Read<T> {
        self.checked(check).map_err(|mut problems| {
            for problem in &mut problems {
                problem.span.end = problem.span.start;
            }
            problems
        })
    }

    /// One of the choices of `T`.
    pub(super) fn word<T: Choices>(self) -> Read<T> {
        self.checked(|text| {
            T::CHOICES
                .iter()
                .find(|(word, _)| *word == text)
                .map(|(_, meaning)| *meaning)
                .ok_or_else(|| {
                    let words: Vec<_> = T::CHOICES
                        .iter()
                        .map(|(word, _)| format!("\"{word}\""))
                        .collect();
                    format!("write one of {}", words.join(", "))
                })
        })
    }

    /// A duration within `range`.
    pub(super) fn duration(self, range: RangeInclusive<Duration>) -> Read<Duration> {
        let DeValue::String(text) = self.0.get_ref() else {
            let found = kind(self.0.get_ref());
            return Err(self.problem(format!(
                "expected a duration, found {found}; {DURATION_FORM}"
            )));
        };
        // humantime takes a bare "0"; a unit is asked for all the same, so that there is one rule.
        let duration = humantime::parse_duration(text)
            .ok()
            .filter(|_| text.chars().any(char::is_alphabetic))
            .ok_or_else(|| self.problem(format!("not a duration; {DURATION_FORM}")))?;
        if range.contains(&duration) {
            return Ok(duration);
        }
        let least = humantime::format_duration(*range.start());
        let most = humantime::format_duration(*range.end());
        Err(self.problem(format!(
            "out of range; write a duration from \"{least}\" to \"{most}\""
        )))
    }

    /// As [`duration`](Self::duration), or zero, which switches something off.
    pub(super) fn duration_or_zero(self, range: RangeInclusive<Duration>) -> Read<Duration> {
        match self.duration(Duration::ZERO..=*range.end()) {
            Ok(duration) if !duration.is_zero() => self.duration(range),
            other => other,
        }
    }

    /// A list without duplicates, each element taken by `read`.
    pub(super) fn list<T: PartialEq>(self, read: impl Fn(Value<'a>) -> Read<T>) -> Read<Vec<T>> {
        let DeValue::Array(elements) = self.0.get_ref() else {
            return self.wrong_type("a list in brackets");
        };
        let mut list = Vec::with_capacity(elements.len());
        let mut problems = Vec::new();
        for element in elements.iter().map(Value) {
            match read(element) {
                Ok(setting) if list.contains(&setting) => {
                    problems.extend(element.problem("stands twice in the list; write it once"));
                }
                Ok(setting) => list.push(setting),
                Err(more) => problems.extend(more),
            }
        }
        if problems.is_empty() {
            Ok(list)
        } else {
            Err(problems)
        }
    }

    /// As [`list`](Self::list), with at least one element.
    pub(super) fn some<T: PartialEq>(self, read: impl Fn(Value<'a>) -> Read<T>) -> Read<Vec<T>> {
        let list = self.list(read)?;
        if list.is_empty() {
            Err(self.problem("an empty list; write at least one"))
        } else {
            Ok(list)
        }
    }

    /// A problem of this whole value.
    pub(super) fn problem(self, text: impl Into<String>) -> Vec<Problem> {
        vec![Problem {
            span: self.0.span(),
            text: text.into(),
        }]
    }

    fn wrong_type<T>(self, expected: &str) -> Read<T> {
        let found = kind(self.0.get_ref());
        Err(self.problem(format!("expected {expected}, found {found}")))
    }
}

/// What an operator calls a value of this type.
pub(super) fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a section",
    }
}
