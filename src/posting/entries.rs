//! From what a bill has to what it should have: the entries to post.
//!
//! ```text
//!                      live is empty        live is not empty
//! desired is empty     nothing              reversal of what is live
//! desired = live       –                    nothing
//! settlement differs   –                    settlement: out of the old account, into the new one
//! otherwise            original             reversal of what is live, and a correction
//! ```

use chrono::NaiveDate;

use super::desired::Desired;
use super::lines::BalancedLines;

/// An entry of the bill that is in the journal and not reversed. A bill has one original or correction at most, followed
/// by settlements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveEntry {
    pub id: i64,
    pub effective_date: NaiveDate,
    pub lines: BalancedLines,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Original,
    Reversal,
    Correction,
    Settlement,
}

impl Kind {
    /// As `ledger.journal_entries.kind` spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Original => "original",
            Kind::Reversal => "reversal",
            Kind::Correction => "correction",
            Kind::Settlement => "settlement",
        }
    }
}

/// An entry to be posted; its lines balance by construction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub kind: Kind,
    /// The day that the entry speaks of: the bill's own; of a reversal, that of the entry it reverses; of a settlement,
    /// the day of the change.
    pub effective_date: NaiveDate,
    /// The day by which reports count it.
    pub posting_date: NaiveDate,
    /// Whether a closed period moved it.
    pub late: bool,
    /// The id of the entry that it reverses.
    pub reverses: Option<i64>,
    pub lines: BalancedLines,
}

/// The closed days of a book.
#[derive(Debug, Clone, Default)]
pub struct Calendar {
    closed: Vec<(NaiveDate, NaiveDate)>,
}

impl Calendar {
    /// From the closed periods, as first and last day.
    pub fn new(closed: impl IntoIterator<Item = (NaiveDate, NaiveDate)>) -> Self {
        Calendar { closed: closed.into_iter().collect() }
    }

    /// Whether nothing can be posted on that day.
    pub fn is_closed(&self, day: NaiveDate) -> bool {
        self.closed.iter().any(|(first, last)| *first <= day && day <= *last)
    }

    /// The first open day from `day` on, and whether that is a later one.
    fn first_open_day(&self, day: NaiveDate) -> (NaiveDate, bool) {
        let mut open = day;
        while let Some((_, last)) = self.closed.iter().find(|(first, last)| *first <= open && open <= *last) {
            match last.succ_opt() {
                Some(next) => open = next,
                None => break,
            }
        }
        (open, open != day)
    }
}

/// The entries that lead from `live` to `desired`; none where they agree.
///
/// `change_day` is the day on which the bill changed, in the book's zone. Posting dates: an original on its effective date,
/// everything else on the later of its effective date and the day of the change; out of closed periods, on the first open
/// day.
pub fn entries(
    desired: Option<&Desired>,
    live: &[LiveEntry],
    change_day: NaiveDate,
    calendar: &Calendar,
) -> Vec<Entry> {
    let entry = |kind, effective_date: NaiveDate, lines, reverses| {
        let wished = if kind == Kind::Original { effective_date } else { effective_date.max(change_day) };
        let (posting_date, late) = calendar.first_open_day(wished);
        Entry { kind, effective_date, posting_date, late, reverses, lines }
    };
    let reversals = || {
        live.iter()
            .map(|live| entry(Kind::Reversal, live.effective_date, live.lines.reversed(), Some(live.id)))
            .collect()
    };

    let (desired, base) = match (desired, live.first()) {
        (None, _) => return reversals(),
        (Some(desired), None) => {
            return vec![entry(Kind::Original, desired.effective_date, desired.lines.clone(), None)];
        }
        (Some(desired), Some(base)) => (desired, base),
    };
    let live_lines = live.iter().flat_map(|entry| entry.lines.as_slice().iter().cloned());
    let live_lines = BalancedLines::net(live_lines).unwrap_or_default(); // a sum of balanced entries is balanced
    let difference = desired.lines.difference_from(&live_lines);
    let same_day = desired.effective_date == base.effective_date;
    if same_day && difference.is_empty() {
        return Vec::new();
    }
    if same_day && is_another_settlement(&difference) {
        return vec![entry(Kind::Settlement, change_day, difference, None)];
    }
    let mut entries: Vec<Entry> = reversals();
    entries.push(entry(Kind::Correction, desired.effective_date, desired.lines.clone(), None));
    entries
}

/// Whether the same sale was only settled in another way: settlement lines alone differ, and within the same dimensions.
fn is_another_settlement(difference: &BalancedLines) -> bool {
    let lines = difference.as_slice();
    lines.iter().all(|line| line.is_settlement && line.dimensions == lines[0].dimensions)
}
