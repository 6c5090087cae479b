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
    /// Whether a closed period or a closed day of cash moved it.
    pub late: bool,
    /// The id of the entry that it reverses.
    pub reverses: Option<i64>,
    pub lines: BalancedLines,
}

/// The closed days of a book, and the closed days of cash of its sites.
#[derive(Debug, Clone, Default)]
pub struct Calendar {
    closed: Vec<(NaiveDate, NaiveDate)>,
    /// Whether any site's days of cash are closed at all; which, is learned where something would be posted.
    closes_cash: bool,
    cash: Vec<ClosedCash>,
}

/// Days in a row on which the cash of a site is closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClosedCash {
    pub site: String,
    pub first_day: NaiveDate,
    pub last_day: NaiveDate,
}

impl ClosedCash {
    fn keeps_out(&self, lines: &BalancedLines, day: NaiveDate) -> bool {
        self.first_day <= day
            && day <= self.last_day
            && lines.as_slice().iter().any(|line| line.dimensions.site.as_ref() == Some(&self.site))
    }
}

impl Calendar {
    /// From the closed periods, as first and last day.
    pub fn new(closed: impl IntoIterator<Item = (NaiveDate, NaiveDate)>) -> Self {
        Calendar { closed: closed.into_iter().collect(), ..Calendar::default() }
    }

    /// The same, of a book where days of cash are closed.
    pub fn closing_cash(self, closes_cash: bool) -> Self {
        Calendar { closes_cash, ..self }
    }

    pub fn closes_cash(&self) -> bool {
        self.closes_cash
    }

    /// Takes up days of cash that are closed.
    pub fn close_cash(&mut self, closed: impl IntoIterator<Item = ClosedCash>) {
        self.cash.extend(closed);
    }

    /// Whether nothing can be posted on that day.
    pub fn is_closed(&self, day: NaiveDate) -> bool {
        self.closed.iter().any(|(first, last)| *first <= day && day <= *last)
    }

    /// The first day from `day` on that is open for all sites of the lines, and whether that is a later one.
    fn first_open_day(&self, lines: &BalancedLines, day: NaiveDate) -> (NaiveDate, bool) {
        let mut open = day;
        let until = |open: NaiveDate| {
            let period =
                self.closed.iter().find(|(first, last)| *first <= open && open <= *last).map(|(_, last)| *last);
            period.or_else(|| self.cash.iter().find(|cash| cash.keeps_out(lines, open)).map(|cash| cash.last_day))
        };
        while let Some(next) = until(open).and_then(|last| last.succ_opt()) {
            open = next;
        }
        (open, open != day)
    }
}

/// The entries that lead from `live` to `desired`; none where they agree.
///
/// `change_day` is the day on which the bill changed, in the book's zone. Posting dates: an original on its effective date,
/// everything else on the later of its effective date and the day of the change; out of closed periods, and closed days of
/// cash of a site that its lines name, on the first open day.
pub fn entries(
    desired: Option<&Desired>,
    live: &[LiveEntry],
    change_day: NaiveDate,
    calendar: &Calendar,
) -> Vec<Entry> {
    let entry = |kind, effective_date: NaiveDate, lines: BalancedLines, reverses| {
        let wished = if kind == Kind::Original { effective_date } else { effective_date.max(change_day) };
        let (posting_date, late) = calendar.first_open_day(&lines, wished);
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
