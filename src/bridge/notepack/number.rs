//! Numbers as JavaScript shows them.

use std::io::{self, Write};

/// From here on not every whole number is a double.
const EXACT: u64 = 1 << 53;

/// What JavaScript has for a whole number.
#[expect(
    clippy::cast_precision_loss,
    reason = "JavaScript's numbers are doubles"
)]
pub(super) fn double(n: i64) -> f64 {
    n as f64
}

/// Writes a whole number.
pub(super) fn write_uint(out: &mut impl Write, n: u64) -> io::Result<()> {
    match n {
        ..=EXACT => write!(out, "{n}"),
        #[expect(
            clippy::cast_precision_loss,
            reason = "JavaScript's numbers are doubles"
        )]
        _ => write_float(out, n as f64),
    }
}

/// Writes a whole number.
pub(super) fn write_int(out: &mut impl Write, n: i64) -> io::Result<()> {
    match n.unsigned_abs() {
        ..=EXACT => write!(out, "{n}"),
        _ => write_float(out, double(n)),
    }
}

/// Writes a number as `Number::toString` of ECMAScript has it; `null` what JSON has no word for.
pub(super) fn write_float(out: &mut impl Write, n: f64) -> io::Result<()> {
    if !n.is_finite() {
        return out.write_all(b"null");
    }
    if n == 0.0 {
        return out.write_all(b"0");
    }
    if n < 0.0 {
        out.write_all(b"-")?;
    }
    // The fewest digits that tell the number from its neighbours: d.ddde±x.
    let shortest = format!("{:e}", n.abs());
    let (mantissa, exponent) = shortest.split_once('e').unwrap_or((&shortest, "0"));
    let digits = mantissa.replace('.', "");
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let count = i32::try_from(digits.len()).unwrap_or(i32::MAX);
    let zeros = |n: i32| "0".repeat(usize::try_from(n).unwrap_or(0));
    // Where the point stands, seen from the first digit.
    let point = exponent.saturating_add(1);
    if point > 21 || point <= -6 {
        let sign = if exponent < 0 { '-' } else { '+' };
        return write!(out, "{mantissa}e{sign}{}", exponent.unsigned_abs());
    }
    if point <= 0 {
        return write!(out, "0.{}{digits}", zeros(-point));
    }
    if count <= point {
        return write!(out, "{digits}{}", zeros(point - count));
    }
    let (whole, part) = digits
        .split_at_checked(usize::try_from(point).unwrap_or(0))
        .unwrap_or((&digits, "0"));
    write!(out, "{whole}.{part}")
}
