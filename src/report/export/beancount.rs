//! Beancount's input format (its "Language Syntax"): accounts are opened, and all else that is told of an entry is metadata.
//!
//! Strings are quoted, with escapes, so text is kept to the letter. Account names are not: they are built from the code in a
//! way that no two codes share, and from what the name has of ASCII letters and digits; the name itself is metadata.

use chrono::NaiveDate;

use super::{Account, Entry};
use crate::report::Book;
use crate::report::entry::Line;

pub fn opening(book: &Book, accounts: &[Account], first: NaiveDate) -> String {
    let title = string(&format!("daybook: the journal of book {}", book.book));
    let mut text = format!("option \"title\" {title}\noption \"operating_currency\" {}\n\n", string(&book.currency));
    text.extend(accounts.iter().map(|account| open(account, book, first)));
    text
}

/// Opens an account on the day of the first entry.
pub fn open(account: &Account, book: &Book, first: NaiveDate) -> String {
    let (code, label) = (string(&account.code), string(&account.name));
    format!("{first} open {} {}\n  code: {code}\n  name: {label}\n", name(account), book.currency)
}

/// The entry as a transaction, cleared.
pub fn entry(entry: &Entry) -> String {
    let narration = string(&format!("{} {}", entry.reference_id, entry.kind));
    let mut text = format!("\n{} * {} {narration}\n", entry.posting_date, string(&entry.reference_type));
    let mut metadata = |key: &str, value: String| text.push_str(&format!("  {key}: {value}\n"));
    metadata("entry", entry.id.to_string());
    metadata("source", string(&entry.source));
    metadata("reference", string(&entry.reference_id));
    metadata("revision", entry.revision.to_string());
    metadata("kind", string(&entry.kind));
    if let Some(id) = entry.reverses_id {
        metadata("reverses", id.to_string());
    }
    metadata("effective", entry.effective_date.to_string());
    metadata("late", if entry.late { "TRUE" } else { "FALSE" }.to_string());
    metadata("event", entry.event_seq.to_string());
    metadata("rule", string(&entry.rule_hash));
    for line in &entry.lines {
        text.push_str(&posting(line, &entry.currency));
    }
    text
}

fn posting(line: &Line, currency: &str) -> String {
    let mut text = format!("  {}  {} {currency}\n", name(&Account::of(line)), line.signed());
    for (key, value) in [("site", &line.site), ("department", &line.department), ("party", &line.party)] {
        if let Some(value) = value {
            text.push_str(&format!("    {key}: {}\n", string(value)));
        }
    }
    text
}

/// `Assets:1000-Cash`. A name's part begins with a capital or a digit and has letters, digits and hyphens. In a code, what
/// else it may have becomes a hyphen with a small letter or a second hyphen, and a small first letter gets `X-l` before it;
/// what follows begins with a capital or a digit. So it can be read back, and different codes have different names.
fn name(account: &Account) -> String {
    let mut name = format!("{}:", account.root());
    if account.code.starts_with(|c: char| c.is_ascii_lowercase()) {
        name.push_str("X-l");
    }
    for c in account.code.chars() {
        match c {
            '_' => name.push_str("-u"),
            '.' => name.push_str("-d"),
            ':' => name.push_str("-c"),
            '-' => name.push_str("--"),
            c => name.push(c),
        }
    }
    for word in account.name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()) {
        let (first, rest) = word.split_at(1);
        name.push_str(&format!("-{}{rest}", first.to_ascii_uppercase()));
    }
    name
}

fn string(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::super::examples;
    use super::*;

    #[test]
    fn an_entry_is_a_transaction_with_metadata() {
        let expected = "
2024-03-05 * \"PHARMACY\" \"42 reversal\"
  entry: 17
  source: \"main\"
  reference: \"42\"
  revision: 2
  kind: \"reversal\"
  reverses: 16
  effective: 2024-03-01
  late: TRUE
  event: 123
  rule: \"abc\"
  Assets:1000-Cash  -100000000000000000.01 INR
    site: \"main\"
    party: \"visit:7\"
  Income:4100-Revenue-X  100000000000000000.01 INR
    site: \"main\"
    party: \"visit:7\"
";
        assert_eq!(entry(&examples::entry("42")), expected);
    }

    #[test]
    fn text_stays_on_its_line_and_in_its_string() {
        let text = entry(&examples::entry(examples::NASTY));
        assert_eq!(text.lines().count(), entry(&examples::entry("42")).lines().count());
        assert_eq!(string("a\"b\\c\nd"), r#""a\"b\\c\nd""#);
    }

    #[test]
    fn different_codes_have_different_and_valid_names() {
        let table = [
            ("1000", "Cash", "Assets:1000-Cash"),
            ("1000", "", "Assets:1000"),
            ("1000", "\u{e9}t\u{e9} 2nd; hand", "Assets:1000-T-2nd-Hand"),
            ("10.00", "Cash", "Assets:10-d00-Cash"),
            ("10:00", "Cash", "Assets:10-c00-Cash"),
            ("10_00", "Cash", "Assets:10-u00-Cash"),
            ("10-00", "Cash", "Assets:10--00-Cash"),
            ("10-", "00", "Assets:10---00"),
            ("cash", "Cash", "Assets:X-lcash-Cash"),
            ("X", "lcash", "Assets:X-Lcash"),
        ];
        for (code, label, expected) in table {
            assert_eq!(name(&examples::account(code, label, "asset")), expected);
        }
    }
}
