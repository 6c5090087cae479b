//! The life of a bill for a terminal.

use chrono::{DateTime, Utc};
use comfy_table::{Table, presets};

use super::{DeadLetter, Event, Trace};
use crate::report::entry::{Entry, Line, is_zero};
use crate::report::printable;

/// So many characters of a rule's hash tell it apart.
const RULE_HASH_SHOWN: usize = 12;

impl Trace {
    /// Summary, live balance, entries with their lines, events, parked spells, notes.
    pub fn to_text(&self) -> String {
        let mut text = self.summary();
        let mut section = |title: &str, header: &[&str], rows: Vec<Vec<String>>| {
            if !rows.is_empty() {
                text.push_str(&format!("\n{title}\n{}\n", table(header, rows)));
            }
        };
        section("live balance", &["account", "name", "balance"], self.balance_rows());
        section(
            "entries",
            &["entry", "revision", "kind", "effective", "posting", "reverses", "event", "rule", "posted at"],
            self.entry_rows(),
        );
        section(
            "lines",
            &["entry", "line", "account", "name", "debit", "credit", "site", "department", "party"],
            self.line_rows(),
        );
        section(
            "events",
            &[
                "event",
                "operation",
                "origin",
                "xid",
                "changed at",
                "session user",
                "application",
                "outcome",
                "entry",
                "attempts",
                "last error",
            ],
            self.event_rows(),
        );
        section(
            "parked",
            &["parked at", "event", "reason", "advice", "resolved", "by", "at", "note"],
            self.parked_rows(),
        );
        for note in &self.notes {
            text.push_str(&format!("\nnote: {}\n", printable(note)));
        }
        text
    }

    fn summary(&self) -> String {
        let bill = &self.bill;
        let state = match &self.state {
            Some(state) if state.live_entry_ids.is_empty() => format!("{}, no live entries", state.state),
            Some(state) => format!("{}, live entries {}", state.state, ids(&state.live_entry_ids)),
            None => "not in the ledger yet".into(),
        };
        let (kind, id, book, source) = (&bill.reference_type, &bill.reference_id, &bill.book, &bill.source);
        let mut text = printable(&format!("{kind} {id} in book {book}, source {source}: {state}")) + "\n";
        if let Some(state) = &self.state
            && let (Some(reason), Some(advice)) = (&state.reason, &state.advice)
        {
            text.push_str(&format!("parked: {}. {}\n", printable(reason), printable(advice)));
        }
        text
    }

    fn balance_rows(&self) -> Vec<Vec<String>> {
        let rows = self.balances.iter();
        rows.map(|row| vec![row.account_code.clone(), or_empty(&row.account_name), row.balance.clone()]).collect()
    }

    fn entry_rows(&self) -> Vec<Vec<String>> {
        let row = |entry: &Entry| {
            let late = if entry.late { " (late)" } else { "" };
            vec![
                entry.id.to_string(),
                entry.revision.to_string(),
                entry.kind.clone(),
                entry.effective_date.to_string(),
                format!("{}{late}", entry.posting_date),
                entry.reverses_id.map(|id| id.to_string()).unwrap_or_default(),
                entry.event_seq.to_string(),
                entry.rule_hash.chars().take(RULE_HASH_SHOWN).collect(),
                instant(entry.posted_at),
            ]
        };
        self.entries.iter().map(row).collect()
    }

    fn line_rows(&self) -> Vec<Vec<String>> {
        let amount = |text: &str| if is_zero(text) { String::new() } else { text.to_string() };
        let lines = self.entries.iter().flat_map(|entry| entry.lines.iter().map(|line| (entry.id, line)));
        let row = |(id, line): (i64, &Line)| {
            vec![
                id.to_string(),
                line.line_no.to_string(),
                line.account_code.clone(),
                or_empty(&line.account_name),
                amount(&line.debit),
                amount(&line.credit),
                or_empty(&line.site),
                or_empty(&line.department),
                or_empty(&line.party),
            ]
        };
        lines.map(row).collect()
    }

    fn event_rows(&self) -> Vec<Vec<String>> {
        let row = |event: &Event| {
            let told = if event.told_by == "journal" { " (says the journal)" } else { "" };
            vec![
                event.seq.to_string(),
                or_empty(&event.operation),
                event.origin.clone(),
                event.xid.clone(),
                instant(event.changed_at),
                event.session_user.clone(),
                event.application.clone(),
                format!("{}{told}", event.outcome),
                event.entry_id.map(|id| id.to_string()).unwrap_or_default(),
                event.attempts.map(|attempts| attempts.to_string()).unwrap_or_default(),
                or_empty(&event.last_error),
            ]
        };
        self.events.iter().map(row).collect()
    }

    fn parked_rows(&self) -> Vec<Vec<String>> {
        let row = |letter: &DeadLetter| {
            vec![
                instant(letter.parked_at),
                letter.event_seq.to_string(),
                letter.reason.clone(),
                letter.advice.clone(),
                letter.resolution.clone().unwrap_or_else(|| "no".into()),
                or_empty(&letter.resolved_by),
                letter.resolved_at.map(instant).unwrap_or_default(),
                or_empty(&letter.note),
            ]
        };
        self.parked.iter().map(row).collect()
    }
}

fn table(header: &[&str], rows: Vec<Vec<String>>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(header.iter().copied());
    for row in rows {
        table.add_row(row.iter().map(|cell| printable(cell)));
    }
    table
}

fn ids(ids: &[i64]) -> String {
    ids.iter().map(i64::to_string).collect::<Vec<_>>().join(", ")
}

fn or_empty(text: &Option<String>) -> String {
    text.clone().unwrap_or_default()
}

fn instant(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M:%S%.3fZ").to_string()
}
