//! hledger's journal format (hledger.org, "Journal"), strict: every account, commodity, payee and tag is declared.
//!
//! Free text stands in descriptions and tags. There is no quoting there: a description ends at a semicolon, a tag's value at
//! a comma, both at the line's end, and a date in brackets is a date wherever it stands. So whatever has a meaning is
//! percent-encoded, as in a URL, and can be decoded without loss.

use super::{Account, Entry};
use crate::report::Book;
use crate::report::entry::Line;

/// The tags of entries, and of their lines.
const TAGS: [&str; 13] = [
    "entry",
    "source",
    "reference",
    "revision",
    "kind",
    "reverses",
    "effective",
    "late",
    "event",
    "rule",
    "site",
    "department",
    "party",
];

pub fn opening(book: &Book, accounts: &[Account]) -> String {
    // A decimal mark must be there even where the currency has no decimals.
    let decimals = "0".repeat(usize::try_from(book.minor_unit).unwrap_or_default());
    let mut text = format!("; daybook: the journal of book {}\n", escaped(&book.book));
    text.push_str(&format!("decimal-mark .\ncommodity 1000.{decimals} {}\n", book.currency));
    text.extend(TAGS.iter().map(|tag| format!("tag {tag}\n")));
    text.extend(accounts.iter().map(account));
    text
}

pub fn account(account: &Account) -> String {
    let kind = match account.root() {
        "Assets" => 'A',
        "Liabilities" => 'L',
        "Income" => 'R',
        "Expenses" => 'X',
        _ => 'E',
    };
    format!("account {}  ; type:{kind}\n", name(account))
}

pub fn payee(reference_type: &str) -> String {
    format!("\npayee {}\n", escaped(reference_type))
}

/// The entry as a transaction. Its secondary date is the effective date: `hledger --date2` reports by it.
pub fn entry(entry: &Entry) -> String {
    let mut text = format!(
        "\n{}={} * ({}) {} | {} {}\n",
        entry.posting_date,
        entry.effective_date,
        entry.id,
        escaped(&entry.reference_type),
        escaped(&entry.reference_id),
        escaped(&entry.kind),
    );
    let mut tags = vec![
        ("entry", entry.id.to_string()),
        ("source", entry.source.clone()),
        ("reference", entry.reference_id.clone()),
        ("revision", entry.revision.to_string()),
        ("kind", entry.kind.clone()),
        ("effective", entry.effective_date.to_string()),
        ("event", entry.event_seq.to_string()),
        ("rule", entry.rule_hash.clone()),
    ];
    tags.extend(entry.reverses_id.map(|id| ("reverses", id.to_string())));
    tags.extend(entry.late.then(|| ("late", "yes".to_string())));
    for (tag, value) in tags {
        text.push_str(&format!("    ; {tag}:{}\n", escaped(&value)));
    }
    for line in &entry.lines {
        text.push_str(&posting(line, &entry.currency));
    }
    text
}

fn posting(line: &Line, currency: &str) -> String {
    let tags: Vec<String> = [("site", &line.site), ("department", &line.department), ("party", &line.party)]
        .into_iter()
        .filter_map(|(tag, value)| Some(format!("{tag}:{}", escaped(value.as_deref()?))))
        .collect();
    let comment = if tags.is_empty() { String::new() } else { format!("  ; {}", tags.join(", ")) };
    format!("    {}  {} {currency}{comment}\n", name(&Account::of(line)), line.signed())
}

/// `Assets:1000 Cash`. The code alone tells accounts apart: it has no space, so it ends at the first. A colon in it would
/// make a subaccount, and becomes a slash, which no code has. Names are for reading: what has a meaning to hledger is
/// replaced.
fn name(account: &Account) -> String {
    let readable = |c: char| match c {
        ';' => ',',
        ':' => '-',
        c if c.is_control() => ' ',
        c => c,
    };
    let cleaned: String = account.name.chars().map(readable).collect();
    let words: Vec<&str> = cleaned.split_whitespace().collect();
    format!("{}:{} {}", account.root(), account.code.replace(':', "/"), words.join(" ")).trim_end().to_string()
}

/// Text that is nothing but text to hledger. Percent signs are encoded too, so that decoding gives the very text.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    let last = text.chars().count().saturating_sub(1);
    for (at, c) in text.chars().enumerate() {
        let is_edge = at == 0 || at == last;
        let has_meaning = "%,;|[]".contains(c);
        if has_meaning || c.is_control() || (c.is_whitespace() && (c != ' ' || is_edge)) {
            let mut bytes = [0; 4];
            escaped.extend(c.encode_utf8(&mut bytes).bytes().map(|byte| format!("%{byte:02X}")));
        } else {
            escaped.push(c);
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::super::examples;
    use super::*;

    #[test]
    fn an_entry_is_a_transaction_with_tags() {
        let expected = "
2024-03-05=2024-03-01 * (17) PHARMACY | 42 reversal
    ; entry:17
    ; source:main
    ; reference:42
    ; revision:2
    ; kind:reversal
    ; effective:2024-03-01
    ; event:123
    ; rule:abc
    ; reverses:16
    ; late:yes
    Assets:1000 Cash  -100000000000000000.01 INR  ; site:main, party:visit:7
    Income:4100 Revenue, \"x\"  100000000000000000.01 INR  ; site:main, party:visit:7
";
        assert_eq!(entry(&examples::entry("42")), expected);
    }

    #[test]
    fn text_stays_on_its_line_and_means_nothing() {
        let text = entry(&examples::entry(examples::NASTY));
        assert_eq!(text.lines().count(), entry(&examples::entry("42")).lines().count());
        assert!(!text.chars().any(|c| c != '\n' && c.is_control()) && !text.contains('['), "{text}");
        assert_eq!(escaped(" a,b;c%d\n "), "%20a%2Cb%3Bc%25d%0A%20");
        assert_eq!(escaped(" "), "%20");
        assert_eq!(escaped("caf\u{e9} 42: \"x\""), "caf\u{e9} 42: \"x\"");
    }

    #[test]
    fn accounts_are_told_apart_by_their_code() {
        let table = [
            ("1000", "Cash", "asset", "Assets:1000 Cash"),
            ("1000", "", "asset", "Assets:1000"),
            ("1000:a", "Cash", "liability", "Liabilities:1000/a Cash"),
            ("1000", " Ca:sh  in;\nhand\u{a0}(A) ", "expense", "Expenses:1000 Ca-sh in, hand (A)"),
            ("1000", "Gone", "", "Equity:1000 Gone"),
        ];
        for (code, label, account_type, expected) in table {
            assert_eq!(name(&examples::account(code, label, account_type)), expected);
        }
    }

    #[test]
    fn the_opening_declares_currency_and_accounts() {
        let accounts = [examples::account("1000", "Cash", "asset"), examples::account("4100", "Sales", "income")];
        let text = opening(&examples::book(), &accounts);
        assert!(text.contains("\ncommodity 1000.00 INR\n"), "{text}");
        assert!(text.ends_with("account Assets:1000 Cash  ; type:A\naccount Income:4100 Sales  ; type:R\n"), "{text}");
        let yen = Book { currency: "JPY".into(), minor_unit: 0, ..examples::book() };
        assert!(opening(&yen, &[]).contains("\ncommodity 1000. JPY\n"));
    }
}
