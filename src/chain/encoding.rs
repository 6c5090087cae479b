//! What is hashed: the canonical encoding of entries and blocks, in versions. Pure.
//!
//! An entry is a list of fields in a fixed order, everything that the journal stores of it: its header's, then its lines' by number.
//! Each field is a text with its length before it (4 bytes, big-endian), or the length 2^32 - 1 for NULL, so that no two different entries
//! have one encoding. Dates are ISO texts, moments microseconds since 1970 (UTC), amounts decimals without trailing zeros, truths
//! `true` and `false`. A block covers the hash of the block before it; `ledger.block_hash` computes the same in SQL.

use chrono::{Days, NaiveDate};
use sha2::{Digest, Sha256};

/// Version of the encoding. Another column of the journal, or another order, is another version, and old blocks keep theirs.
pub const VERSION: i16 = 1;

/// Most entries of a block; the table's constraint says the same.
pub const BLOCK_ENTRIES_MAX: usize = 1_000;

/// SHA-256.
pub type Hash = [u8; 32];

/// What the first block of a book names as the hash before it.
pub const NO_HASH: Hash = [0; 32];

/// Fields of a header, columns of `ledger.journal_entries` in their order.
pub const HEADER_FIELDS: [&str; 21] = [
    "id",
    "book",
    "source",
    "reference_type",
    "reference_id",
    "revision",
    "kind",
    "effective_date",
    "posting_date",
    "late",
    "reverses_id",
    "line_count",
    "total",
    "rule_hash",
    "event_seq",
    "event_origin",
    "event_xid",
    "changed_at",
    "session_user_name",
    "application_name",
    "posted_at",
];

/// Fields of a line, columns of `ledger.journal_lines` after `entry_id`.
pub const LINE_FIELDS: [&str; 9] =
    ["line_no", "account_code", "debit", "credit", "currency", "is_settlement", "site", "department", "party"];

/// Texts in the order of their fields; `None` is NULL.
pub type Fields<const N: usize> = [Option<String>; N];

/// An entry as it is hashed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub id: i64,
    pub header: Fields<{ HEADER_FIELDS.len() }>,
    /// By line number.
    pub lines: Vec<Fields<{ LINE_FIELDS.len() }>>,
}

impl Entry {
    pub fn field(&self, name: &str) -> Option<&str> {
        let at = HEADER_FIELDS.iter().position(|field| *field == name)?;
        self.header[at].as_deref()
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(1_024);
        put(&mut bytes, Some(b"daybook entry 1"));
        for field in &self.header {
            put(&mut bytes, field.as_deref().map(str::as_bytes));
        }
        bytes.extend((self.lines.len() as u32).to_be_bytes());
        for field in self.lines.iter().flatten() {
            put(&mut bytes, field.as_deref().map(str::as_bytes));
        }
        bytes
    }

    pub fn hash(&self) -> Hash {
        Sha256::digest(self.encode()).into()
    }
}

/// A block as it is hashed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    pub book: String,
    /// From 1.
    pub number: i64,
    /// Number of its first entry in the chain, from 1.
    pub first_entry_number: i64,
    /// No later block has an entry with an id up to this one.
    pub passed_entry_id: i64,
    /// Microseconds since 2000-01-01, UTC: a timestamp of PostgreSQL.
    pub sealed_at: i64,
    pub previous_hash: Vec<u8>,
    pub entry_ids: Vec<i64>,
    /// 32 bytes for each entry.
    pub entry_hashes: Vec<u8>,
}

impl Block {
    pub fn hash(&self) -> Hash {
        let mut bytes = Vec::with_capacity(128 + 40 * self.entry_ids.len());
        put(&mut bytes, Some(b"daybook block 1"));
        put(&mut bytes, Some(self.book.as_bytes()));
        for number in [self.number, self.first_entry_number, self.passed_entry_id, self.sealed_at] {
            bytes.extend(number.to_be_bytes());
        }
        put(&mut bytes, Some(&self.previous_hash));
        bytes.extend((self.entry_ids.len() as u32).to_be_bytes());
        for id in &self.entry_ids {
            bytes.extend(id.to_be_bytes());
        }
        bytes.extend(&self.entry_hashes);
        Sha256::digest(bytes).into()
    }

    /// Number of its last entry in the chain.
    pub fn last_entry_number(&self) -> i64 {
        self.first_entry_number + self.entry_ids.len() as i64 - 1
    }
}

fn put(bytes: &mut Vec<u8>, field: Option<&[u8]>) {
    match field {
        Some(field) => {
            bytes.extend((field.len() as u32).to_be_bytes());
            bytes.extend(field);
        }
        None => bytes.extend(u32::MAX.to_be_bytes()),
    }
}

/// Seconds from 1970-01-01 to 2000-01-01, from which PostgreSQL counts.
const EPOCH_SECONDS: i128 = 946_684_800;

/// A moment in microseconds since 1970, of PostgreSQL's microseconds since 2000.
pub fn moment_text(microseconds: i64) -> String {
    match microseconds {
        i64::MAX => "infinity".into(),
        i64::MIN => "-infinity".into(),
        _ => (i128::from(microseconds) + EPOCH_SECONDS * 1_000_000).to_string(),
    }
}

/// An ISO date, of PostgreSQL's days since 2000-01-01. Years beyond chrono's are told in days.
pub fn date_text(days: i32) -> String {
    let epoch = NaiveDate::from_ymd_opt(2000, 1, 1).unwrap_or_default();
    let distance = Days::new(days.unsigned_abs().into());
    let date = match days {
        i32::MAX => return "infinity".into(),
        i32::MIN => return "-infinity".into(),
        0.. => epoch.checked_add_days(distance),
        _ => epoch.checked_sub_days(distance),
    };
    date.map_or_else(|| format!("day {days}"), |date| date.format("%Y-%m-%d").to_string())
}

/// In hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry() -> Entry {
        let texts = [
            "7",
            "main",
            "main",
            "LAB",
            "42",
            "1",
            "original",
            "2024-03-05",
            "2024-04-01",
            "true",
            "",
            "2",
            "10.5",
            "ab12",
            "9",
            "trigger",
            "771",
            "1709622000000000",
            "desk",
            "",
            "1709622000123456",
        ];
        let mut header = texts.map(|text| Some(text.to_string()));
        header[10] = None;
        let line = |no: &str, account: &str, debit: &str, credit: &str| {
            [no, account, debit, credit, "INR", "false", "main", "", ""]
                .map(|text| Some(text.to_string()).filter(|t| !t.is_empty()))
        };
        Entry { id: 7, header, lines: vec![line("1", "1000", "10.5", "0"), line("2", "4200", "0", "10.5")] }
    }

    /// Computed once, by another program (Python's hashlib): an encoding that changes by accident would call every ledger tampered.
    #[test]
    fn what_was_sealed_has_the_same_hash_for_ever() {
        assert_eq!(hex(&entry().hash()), "cb16a21d4b2bd2056d02452253ec94f0545c4d7e5802e80099fe9f58c9d7fc39");
        let block = Block {
            book: "main".into(),
            number: 2,
            first_entry_number: 1_001,
            passed_entry_id: 1_000,
            sealed_at: 762_937_200_000_000,
            previous_hash: vec![1; 32],
            entry_ids: vec![7, 9],
            entry_hashes: vec![2; 64],
        };
        assert_eq!(hex(&block.hash()), "f3a58a52c6feffcf3f2dd9e40f621abe09095066a6e57c7518252980fd171702");
        assert_eq!(block.last_entry_number(), 1_002);
    }

    #[test]
    fn days_and_moments_are_told_in_one_way() {
        for (days, text) in [
            (0, "2000-01-01"),
            (8_830, "2024-03-05"),
            (-1, "1999-12-31"),
            (-730_119, "0001-01-01"),
            (i32::MAX, "infinity"),
            (i32::MIN, "-infinity"),
            (i32::MAX - 1, "day 2147483646"),
        ] {
            assert_eq!(date_text(days), text);
        }
        for (microseconds, text) in [
            (0, "946684800000000"),
            (-946_684_800_000_001, "-1"),
            (i64::MAX, "infinity"),
            (i64::MIN, "-infinity"),
            (i64::MAX - 1, "9224318721654775806"),
        ] {
            assert_eq!(moment_text(microseconds), text);
        }
    }

    #[test]
    fn every_field_counts() {
        let original = entry();
        for (at, name) in HEADER_FIELDS.iter().enumerate() {
            for other in [None, Some("other".to_string())] {
                let mut changed = original.clone();
                changed.header[at] = other;
                assert_eq!(changed.hash() == original.hash(), changed == original, "{name}");
            }
        }
        for (line, at) in (0..2).flat_map(|line| (0..LINE_FIELDS.len()).map(move |at| (line, at))) {
            let mut changed = original.clone();
            changed.lines[line][at] = Some("other".into());
            assert_ne!(changed.hash(), original.hash(), "{}", LINE_FIELDS[at]);
        }
        let mut reordered = original.clone();
        reordered.lines.swap(0, 1);
        assert_ne!(reordered.hash(), original.hash());
    }

    /// Few letters, so that texts of neighbouring fields can be cut in several ways.
    fn field() -> impl Strategy<Value = Option<String>> {
        prop_oneof![Just(None), "[a0\u{0}]{0,2}".prop_map(Some)]
    }

    fn any_entry() -> impl Strategy<Value = Entry> {
        let line = prop::collection::vec(field(), LINE_FIELDS.len());
        let header = prop::collection::vec(field(), HEADER_FIELDS.len());
        (header, prop::collection::vec(line, 0..3)).prop_map(|(header, lines)| Entry {
            id: 1,
            header: header.try_into().expect("as many"),
            lines: lines.into_iter().map(|line| line.try_into().expect("as many")).collect(),
        })
    }

    proptest! {
        #[test]
        fn two_different_entries_never_encode_the_same(a in any_entry(), b in any_entry()) {
            prop_assert_eq!(a == b, a.encode() == b.encode());
        }

        /// A text that moves to the field beside it, the hardest case.
        #[test]
        fn a_text_that_moves_across_fields_is_another_entry(a in any_entry(), at in 0..HEADER_FIELDS.len() - 1) {
            let mut b = a.clone();
            let moved = [b.header[at].take(), b.header[at + 1].take()].into_iter().flatten().collect::<String>();
            b.header[at] = Some(moved);
            prop_assert_eq!(a == b, a.encode() == b.encode());
        }
    }
}
