//! Dates as msgpack's timestamps and as JavaScript's text.

use std::io::{self, Write};

/// The farthest moment from 1970 that a `Date` can hold, in milliseconds.
const FARTHEST: f64 = 8.64e15;
const MS_OF_A_DAY: i64 = 24 * 60 * 60 * 1000;

/// The milliseconds of a timestamp of msgpack, in any of its three lengths.
pub(super) fn of_timestamp(bytes: &[u8]) -> Option<f64> {
    let (nanoseconds, seconds) = match bytes.len() {
        4 => (0, u32::from_be_bytes(*bytes.first_chunk()?).into()),
        8 => {
            let both = u64::from_be_bytes(*bytes.first_chunk()?);
            let seconds = both & ((1 << 34) - 1);
            (
                u32::try_from(both >> 34).ok()?,
                i64::try_from(seconds).ok()?,
            )
        }
        12 => {
            let (nanoseconds, seconds) = bytes.split_first_chunk()?;
            (
                u32::from_be_bytes(*nanoseconds),
                i64::from_be_bytes(*seconds.first_chunk()?),
            )
        }
        _ => return None,
    };
    Some(super::number::double(seconds) * 1e3 + f64::from(nanoseconds) / 1e6)
}

/// The whole milliseconds of a `Date`, if it is a good one.
pub(super) fn whole(ms: f64) -> Option<i64> {
    #[expect(clippy::cast_possible_truncation, reason = "it is in range")]
    (ms.abs() <= FARTHEST).then_some(ms as i64)
}

/// Writes what `toJSON` gives, in quotes; `null` for what is no date.
pub(super) fn write(out: &mut impl Write, ms: f64) -> io::Result<()> {
    let Some(ms) = whole(ms) else {
        return out.write_all(b"null");
    };
    let (year, month, day) = civil(ms.div_euclid(MS_OF_A_DAY));
    let ms = ms.rem_euclid(MS_OF_A_DAY);
    let (hour, minute) = (ms / 3_600_000, ms / 60_000 % 60);
    let (second, ms) = (ms / 1000 % 60, ms % 1000);
    match year {
        0..=9999 => write!(out, "\"{year:04}")?,
        ..0 => write!(out, "\"-{:06}", -year)?,
        _ => write!(out, "\"+{year:06}")?,
    }
    write!(
        out,
        "-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z\""
    )
}

/// Year, month and day of so many days after 1970-01-01, by the calendar of today.
fn civil(days: i64) -> (i64, i64, i64) {
    const FOUR_HUNDRED_YEARS: i64 = 146_097;
    // Years that begin in March end with the day that not each of them has.
    let days = days + 719_468;
    let (era, day) = (
        days.div_euclid(FOUR_HUNDRED_YEARS),
        days.rem_euclid(FOUR_HUNDRED_YEARS),
    );
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    (year, month, day)
}
