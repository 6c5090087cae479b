//! Amounts as the database writes them, read exactly or not at all.

use rust_decimal::Decimal;

/// Amounts are below this in absolute value; the ledger's lines have the same bound.
pub const AMOUNT_MAX: Decimal = Decimal::from_parts(2_808_348_672, 232_830_643, 0, false, 0); // 10^18

/// What keeps a text from being an amount of the book's currency; Display names the kind of the value, not the value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AmountProblem {
    #[error("NaN (not a number)")]
    NotANumber,
    #[error("Infinity")]
    Infinite,
    #[error("a text of {characters} characters that is not a plain decimal number")]
    NotADecimal { characters: usize },
    #[error("an amount with {decimals} decimals, where the currency has {minor_unit}")]
    TooManyDecimals { decimals: usize, minor_unit: u32 },
    #[error("an amount of 10^18 or more")]
    TooLarge,
}

/// Reads the text of a numeric value in plain decimal notation, as PostgreSQL writes it. Trailing zeros do not count as
/// decimals; `minor_unit` is the number of decimals that the currency has (ISO 4217).
pub fn parse(text: &str, minor_unit: u32) -> Result<Decimal, AmountProblem> {
    let text = text.trim();
    match text {
        "NaN" => return Err(AmountProblem::NotANumber),
        "Infinity" | "-Infinity" => return Err(AmountProblem::Infinite),
        _ => {}
    }
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, decimals) = digits.split_once('.').unwrap_or((digits, ""));
    let plain = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !plain(whole) || !plain(decimals) || digits.ends_with('.') {
        return Err(AmountProblem::NotADecimal { characters: text.chars().count() });
    }
    let decimals = decimals.trim_end_matches('0');
    if decimals.len() > minor_unit as usize {
        return Err(AmountProblem::TooManyDecimals { decimals: decimals.len(), minor_unit });
    }
    let whole = whole.trim_start_matches('0');
    if whole.len() > 18 {
        return Err(AmountProblem::TooLarge);
    }
    let mut digits = whole.bytes().chain(decimals.bytes()).map(|digit| i128::from(digit - b'0'));
    let magnitude = digits
        .try_fold(0_i128, |magnitude, digit| magnitude.checked_mul(10)?.checked_add(digit))
        .and_then(|magnitude| Decimal::try_from_i128_with_scale(magnitude, decimals.len() as u32).ok())
        .ok_or_else(|| AmountProblem::NotADecimal { characters: text.chars().count() })?;
    Ok(if text.starts_with('-') && !magnitude.is_zero() { -magnitude } else { magnitude })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_is_read_exactly_or_refused_with_its_kind() {
        let table = [
            ("0", 2, Ok("0")),
            ("-0.00", 2, Ok("0")),
            ("12.34", 2, Ok("12.34")),
            ("-12.34", 2, Ok("-12.34")),
            ("12.340000000000000000000000000000000000", 2, Ok("12.34")),
            ("000012.5", 2, Ok("12.5")),
            ("12.345", 2, Err("3 decimals")),
            ("12.345", 3, Ok("12.345")),
            ("12.3", 0, Err("1 decimals")),
            ("12.0", 0, Ok("12")),
            ("999999999999999999.99", 2, Ok("999999999999999999.99")),
            ("1000000000000000000", 2, Err("10^18")),
            ("0.0000000000000000000000000000000000000001", 2, Err("40 decimals")),
            ("NaN", 2, Err("NaN")),
            ("Infinity", 2, Err("Infinity")),
            ("-Infinity", 2, Err("Infinity")),
            ("1e20", 2, Err("not a plain decimal")),
            ("1,234.00", 2, Err("not a plain decimal")),
            ("", 2, Err("not a plain decimal")),
            ("-", 2, Err("not a plain decimal")),
            ("5.", 2, Err("not a plain decimal")),
            ("--5", 2, Err("not a plain decimal")),
        ];
        for (text, minor_unit, expected) in table {
            match (parse(text, minor_unit), expected) {
                (Ok(amount), Ok(expected)) => assert_eq!(amount.to_string(), expected, "{text}"),
                (Err(problem), Err(part)) => {
                    assert!(problem.to_string().contains(part), "{text}: {problem}")
                }
                (got, expected) => panic!("{text}: {got:?} instead of {expected:?}"),
            }
        }
    }

    #[test]
    fn the_bound_is_ten_to_the_eighteenth() {
        assert_eq!(AMOUNT_MAX.to_string(), "1000000000000000000");
    }
}
