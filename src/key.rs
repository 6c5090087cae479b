//! Canonical key texts: what `reference_id` holds, and back to the values of the key columns.

/// Splits a reference id into one text per key column, or `None` where no row can have this key.
///
/// `key_types` are the columns' types as `format_type` names them. A composite key is a JSON array of texts. Each part is
/// looked at here because a cast that fails in SQL would fail the whole batch; whether the row's own canonical text equals
/// the reference id is then compared in SQL.
pub fn parts(reference_id: &str, key_types: &[String]) -> Option<Vec<String>> {
    let parts: Vec<String> = match key_types {
        [_] => vec![reference_id.to_string()],
        _ => serde_json::from_str(reference_id).ok()?,
    };
    let fits = parts.len() == key_types.len() && parts.iter().zip(key_types).all(|(part, of)| can_be(part, of));
    // Sessions are in UTC, and PostgreSQL reads no Z after an infinity or BC.
    let local = |(part, of): (String, &String)| match of.as_str() {
        "timestamp with time zone" => part.trim_end_matches('Z').replace('T', " "),
        _ => part,
    };
    fits.then(|| parts.into_iter().zip(key_types).map(local).collect())
}

/// A reference id as a person writes it: a composite key is a JSON array of texts; blanks in it mean nothing, and a whole number stands
/// for its text. `daybook.canonical_id` says the same where the table is known.
pub fn canonical(reference_id: &str) -> String {
    use serde_json::Value;
    let text = |part: Value| match part {
        Value::String(_) | Value::Null => Some(part.to_string()),
        Value::Number(number) if number.is_i64() || number.is_u64() => Some(format!("\"{number}\"")),
        _ => None,
    };
    let parts = serde_json::from_str::<Vec<Value>>(reference_id).ok();
    match parts.and_then(|parts| parts.into_iter().map(text).collect::<Option<Vec<_>>>()) {
        Some(parts) => format!("[{}]", parts.join(", ")),
        None => reference_id.to_string(),
    }
}

/// The reference id of a row whose key columns a server in UTC, with DateStyle ISO, has written as these texts: what `daybook.key_expression`
/// gives for it. `None` for a text that is no value of its type, or of a type that has no canonical text.
pub fn of_wire(texts: &[&str], key_types: &[String]) -> Option<String> {
    if texts.len() != key_types.len() {
        return None;
    }
    let parts: Option<Vec<String>> = texts.iter().zip(key_types).map(|(text, of)| part_of_wire(text, of)).collect();
    let mut parts = parts?;
    match parts.len() {
        1 => parts.pop(),
        _ => {
            let quoted: Result<Vec<String>, _> = parts.iter().map(serde_json::to_string).collect();
            Some(format!("[{}]", quoted.ok()?.join(", ")))
        }
    }
}

fn part_of_wire(text: &str, key_type: &str) -> Option<String> {
    let part = match key_type {
        // As trim_scale.
        "numeric" if text.contains('.') => text.trim_end_matches('0').trim_end_matches('.').to_string(),
        // As the cast to text, which takes the padding off.
        "bpchar" | "character" => text.trim_end_matches(' ').to_string(),
        "timestamp with time zone" => {
            let (moment, era) = text.strip_suffix(" BC").map_or((text, ""), |moment| (moment, " BC"));
            match is_infinity(moment) {
                true => format!("{moment}Z"),
                false => format!("{}{era}Z", moment.strip_suffix("+00")?.replacen(' ', "T", 1)),
            }
        }
        _ => text.to_string(),
    };
    let known = if key_type == "character" { "bpchar" } else { key_type };
    can_be(&part, known).then_some(part)
}

/// Whether a part of the composite key is null: the vendor let it be, and no row can be found by it.
pub fn has_null(reference_id: &str, key_types: &[String]) -> bool {
    key_types.len() > 1
        && serde_json::from_str::<Vec<Option<String>>>(reference_id).is_ok_and(|parts| parts.contains(&None))
}

/// Whether a cast of `text` to the type succeeds. Stricter than PostgreSQL: only canonical spellings need to pass.
fn can_be(text: &str, key_type: &str) -> bool {
    match key_type {
        "smallint" => text.parse::<i16>().is_ok(),
        "integer" => text.parse::<i32>().is_ok(),
        "bigint" => text.parse::<i64>().is_ok(),
        "numeric" => matches!(text, "NaN" | "Infinity" | "-Infinity") || is_decimal(text),
        "uuid" => is_uuid(text),
        "date" => is_infinity(text) || is_date(text),
        "timestamp with time zone" => {
            text.strip_suffix('Z').is_some_and(|local| is_infinity(local) || is_timestamp(local))
        }
        "text" | "character varying" | "bpchar" => !text.contains('\0'),
        _ => false,
    }
}

fn is_decimal(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, decimals) = digits.split_once('.').unwrap_or((digits, "0"));
    let plain = |part: &str| (1..=1000).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
    plain(whole) && plain(decimals)
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

fn is_infinity(text: &str) -> bool {
    matches!(text, "infinity" | "-infinity")
}

/// As PostgreSQL writes dates in JSON: years of four digits and more, and years before Christ. One that is in no calendar fails in
/// SQL, and parks its bill.
fn is_date(text: &str) -> bool {
    let day = text.strip_suffix(" BC").unwrap_or(text);
    let parts: Vec<&str> = day.split('-').collect();
    let digits =
        |part: &str, least, most| (least..=most).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
    match parts.as_slice() {
        // A common date is looked at in full: a batch need not fail for it.
        [year, _, _] if year.len() == 4 && day.len() == text.len() => {
            text.len() == 10 && chrono::NaiveDate::parse_from_str(text, "%Y-%m-%d").is_ok()
        }
        [year, month, day] => digits(year, 4, 7) && digits(month, 2, 2) && digits(day, 2, 2),
        _ => false,
    }
}

fn is_timestamp(text: &str) -> bool {
    let (moment, era) = text.strip_suffix(" BC").map_or((text, ""), |moment| (moment, " BC"));
    moment.split_once('T').is_some_and(|(day, time)| {
        is_date(&format!("{day}{era}")) && chrono::NaiveTime::parse_from_str(time, "%H:%M:%S%.f").is_ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_in_a_composite_key_mean_nothing_and_numbers_are_texts() {
        for (written, canonical) in [
            (r#"["2024","7"]"#, r#"["2024", "7"]"#),
            (r#" [ "N\u00ba 1" , "a\"b" ] "#, "[\"N\u{ba} 1\", \"a\\\"b\"]"),
            ("[2024, -7]", r#"["2024", "-7"]"#),
            (r#"["A", null]"#, r#"["A", null]"#),
            ("[1.5]", "[1.5]"),
            ("42", "42"),
            ("[x", "[x"),
        ] {
            assert_eq!(super::canonical(written), canonical);
        }
    }

    #[test]
    fn a_reference_id_that_no_row_can_have_is_told_before_sql_sees_it() {
        type Row = (&'static str, &'static [&'static str], Option<&'static [&'static str]>);
        let table: &[Row] = &[
            ("42", &["integer"], Some(&["42"])),
            ("-42", &["smallint"], Some(&["-42"])),
            ("99999999999", &["integer"], None),
            ("99999999999", &["bigint"], Some(&["99999999999"])),
            ("abc", &["integer"], None),
            ("1.5", &["numeric"], Some(&["1.5"])),
            ("1.", &["numeric"], None),
            ("1e5", &["numeric"], None),
            ("abc", &["text"], Some(&["abc"])),
            ("", &["character varying"], Some(&[""])),
            ("2024-02-30", &["date"], None),
            ("2024-02-29", &["date"], Some(&["2024-02-29"])),
            ("2024-02-29T10:00:00.123456Z", &["timestamp with time zone"], Some(&["2024-02-29 10:00:00.123456"])),
            ("infinityZ", &["timestamp with time zone"], Some(&["infinity"])),
            ("0044-03-15T10:00:00 BCZ", &["timestamp with time zone"], Some(&["0044-03-15 10:00:00 BC"])),
            ("0044-03-15 BC", &["date"], Some(&["0044-03-15 BC"])),
            ("12024-03-15", &["date"], Some(&["12024-03-15"])),
            ("-Infinity", &["numeric"], Some(&["-Infinity"])),
            ("2024-02-29T10:00:00", &["timestamp with time zone"], None),
            ("8b6bcb3c-3ee7-4f3a-8a3e-3d3a3b3c3d3e", &["uuid"], Some(&["8b6bcb3c-3ee7-4f3a-8a3e-3d3a3b3c3d3e"])),
            ("8b6bcb3c", &["uuid"], None),
            (r#"["2024", "7"]"#, &["text", "integer"], Some(&["2024", "7"])),
            (r#"["2024"]"#, &["text", "integer"], None),
            ("7", &["text", "integer"], None),
            ("1", &["double precision"], None),
        ];
        for (reference_id, key_types, expected) in table {
            let key_types: Vec<String> = key_types.iter().map(|name| name.to_string()).collect();
            let expected = expected.map(|parts| parts.iter().map(|part| part.to_string()).collect());
            assert_eq!(parts(reference_id, &key_types), expected, "{reference_id} as {key_types:?}");
        }
    }
}
