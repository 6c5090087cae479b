//! What a run came to, for a terminal and as JSON.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use comfy_table::{Table as TextTable, presets};
use serde::Serialize;
use tokio_postgres::Row;

use super::Reconciliation;
use super::findings::Finding;
use super::totals::Totals;
use crate::error::Error;

/// A table, and how far it was proven.
#[derive(Debug, Default, Serialize)]
pub struct Table {
    pub reference_type: String,
    pub relation: String,
    /// By `digests`, or `every row`.
    pub how: &'static str,
    /// Rows in scope.
    pub bills: i64,
    /// Bills that were looked at under their locks.
    pub candidates: u64,
    /// Bills that seemed to differ, and of which an event waits.
    pub pending: u64,
    /// Those that are parked or retained, and rightly so.
    pub excused: u64,
    /// Those that differ.
    pub findings: u64,
    /// Why the table is not proven, where it could not be looked at, or is being synchronised as a whole.
    pub not_proven: Option<String>,
    /// When the change came that has been waiting for longest.
    pub oldest_event: Option<DateTime<Utc>>,
    #[serde(skip)]
    pub(super) rows: i64,
    #[serde(skip)]
    pub(super) is_backfilled: bool,
    /// Whether changes come from the WAL, a moment after they are seen.
    #[serde(skip)]
    pub(super) is_streamed: bool,
    #[serde(skip)]
    pub(super) never_posted: u64,
    #[serde(skip)]
    pub(super) kept: u64,
    #[serde(skip)]
    pub(super) looked_at: HashSet<String>,
    /// Those of the pending ones that were left out of a comparison.
    #[serde(skip)]
    pub(super) left_out: HashSet<String>,
    /// What the journal says of its bills, without those that are not to be what their rows say.
    #[serde(skip)]
    pub(super) posted: Totals,
    #[serde(skip)]
    pub(super) excluded: Vec<String>,
    /// What its rows say that is against the clinic's rules.
    #[serde(skip)]
    pub(super) warnings: Vec<Finding>,
    /// Bills of which the ledger is to be asked whether they are owed for too long.
    #[serde(skip)]
    pub(super) may_be_owed: Vec<String>,
    /// Whether some rows could not be asked, or not all that they said is kept.
    #[serde(skip)]
    pub(super) has_unasked_rows: bool,
}

impl Table {
    /// From `tables.sql`.
    pub(super) fn of_row(row: &Row) -> Table {
        let not_proven = match (row.get("is_suspended"), row.get("exists")) {
            (_, false) => Some("it was dropped".to_string()),
            (true, _) => Some("it is suspended: `daybook resume` has it synchronised".to_string()),
            _ => None,
        };
        Table {
            reference_type: row.get("reference_type"),
            relation: row.get("relation_name"),
            how: "not at all",
            not_proven,
            rows: row.get("rows"),
            is_backfilled: row.get("is_backfilled"),
            is_streamed: row.get("is_streamed"),
            ..Table::default()
        }
    }
}

/// What a run came to.
#[derive(Debug, Serialize)]
pub struct Report {
    pub run: i64,
    /// `proven`, `findings`, `incomplete`, `failed`.
    pub outcome: &'static str,
    pub started_at: DateTime<Utc>,
    /// Whatever was committed before this moment is in the ledger, to the cent.
    pub proven_until: Option<DateTime<Utc>>,
    pub tables: Vec<Table>,
    pub findings: Vec<Finding>,
    /// Critical findings that are open, those of earlier runs included: as long as there is one, nothing is proven.
    pub open: i64,
    /// Bills that were enqueued.
    pub repairs: i64,
}

impl Report {
    pub(super) fn new(run: &Reconciliation, tables: Vec<Table>, open: i64, error: Option<&Error>) -> Report {
        let mut findings = run.findings.clone();
        findings.sort_by(|a, b| (!a.kind.is_critical(), &a.key).cmp(&(!b.kind.is_critical(), &b.key)));
        let differ = open > 0
            || findings.iter().any(|finding| finding.kind.is_critical())
            || tables.iter().any(|table| table.findings > 0);
        let outcome = match error {
            Some(_) => "failed",
            None if differ => "findings",
            None if tables.is_empty() || tables.iter().any(|table| table.not_proven.is_some()) => "incomplete",
            None => "proven",
        };
        let oldest = tables.iter().filter_map(|table| table.oldest_event).min();
        let proven_until = match outcome {
            "proven" => Some(oldest.map_or(run.started_at, |oldest| oldest.min(run.started_at))),
            _ => None,
        };
        Report {
            run: run.run,
            outcome,
            started_at: run.started_at,
            proven_until,
            tables,
            findings,
            open,
            repairs: run.repairs,
        }
    }

    /// Findings without which the ledger would be proven.
    pub fn critical(&self) -> usize {
        self.findings.iter().filter(|finding| finding.kind.is_critical()).count()
    }

    /// 0: proven equal. 1: findings, or not everything could be looked at.
    pub fn exit_code(&self) -> u8 {
        u8::from(self.outcome != "proven")
    }

    /// Tables, findings with both sides' amounts, and the verdict in the last line.
    pub fn to_text(&self) -> String {
        let mut table = TextTable::new();
        table.load_style(presets::ASCII_MARKDOWN);
        table.set_header(["bills of", "looked at by", "bills", "candidates", "on their way", "parked, kept", "differ"]);
        for of in &self.tables {
            let counts = [of.candidates, of.pending, of.excused, of.findings].map(|count| count.to_string());
            let mut row = vec![of.reference_type.clone(), of.how.to_string(), of.bills.to_string()];
            row.extend(counts);
            table.add_row(row);
        }
        let mut text = format!("{table}\n");
        for of in &self.tables {
            if let Some(why) = &of.not_proven {
                text.push_str(&format!("{} is not proven: {why}\n", of.reference_type));
            }
        }
        const SHOWN: usize = 50;
        for finding in self.findings.iter().take(SHOWN) {
            text.push_str(&format!("{:<19} {}\n", finding.kind.as_str(), finding.message));
            for (side, name) in [("bill", "the bill says"), ("ledger", "the ledger has")] {
                if let Some(amounts) = finding.details.get(side).and_then(|side| side.as_object()) {
                    let amounts =
                        amounts.iter().map(|(account, amount)| format!("{account} {}", amount.as_str().unwrap_or("")));
                    let amounts = amounts.collect::<Vec<_>>().join(", ");
                    let amounts = if amounts.is_empty() { "nothing".into() } else { amounts };
                    text.push_str(&format!("{:20}{name:<15} {amounts}\n", ""));
                }
            }
        }
        if self.findings.len() > SHOWN {
            text.push_str(&format!("and {} more: daybook.reconciliation_findings\n", self.findings.len() - SHOWN));
        }
        if self.repairs > 0 {
            text.push_str(&format!("{} bills were enqueued to be synchronised anew\n", self.repairs));
        }
        let bills: i64 = self.tables.iter().map(|table| table.bills).sum();
        text + &match (self.outcome, self.proven_until) {
            ("proven", Some(until)) => format!(
                "PROVEN: the ledger equals {bills} bills, to the cent and by account, with everything committed until {}",
                until.format("%Y-%m-%d %H:%M:%S%.3f UTC")
            ),
            ("incomplete", _) => "NOT PROVEN: nothing differs, and not everything could be looked at".into(),
            _ => match self.open - self.critical() as i64 {
                earlier @ 1.. => format!(
                    "NOT PROVEN: {} findings, and {earlier} of earlier runs that are open: daybook.reconciliation_findings",
                    self.critical()
                ),
                _ => format!("NOT PROVEN: {} findings", self.critical().max(1)),
            },
        }
    }
}
