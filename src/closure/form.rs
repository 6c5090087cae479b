//! A day of cash as text for a terminal, as CSV, and as a page to be printed and signed. Pure.

use askama::Template;
use comfy_table::{CellAlignment, Table, presets};
use csv::{Terminator, WriterBuilder};

use super::day::{Day, Sums};
use crate::error::{Error, Result};
use crate::report::entry::is_zero;
use crate::report::printable;

/// Everything that a text of somebody's may hold is escaped by the template's engine.
#[derive(Template)]
#[template(path = "closure.html")]
struct Page<'a> {
    of: &'a Day,
    verdict: &'a str,
    version: &'a str,
}

/// A page that needs nothing else: no script, no other file, no network.
pub fn page(day: &Day) -> Result<String> {
    let page = Page { of: day, verdict: &verdict(day), version: env!("CARGO_PKG_VERSION") };
    page.render().map_err(|error| Error::Unexpected(format!("writing the page: {error}")))
}

/// The outcome in one line.
fn verdict(day: &Day) -> String {
    match &day.total.difference {
        _ if day.state == "open" => "Not counted yet.".into(),
        None => "Counted, not closed yet.".into(),
        Some(difference) if day.accounts.iter().all(|of| of.difference.as_deref().is_none_or(is_zero)) => {
            format!("Counted and expected agree: {difference} {}.", day.currency)
        }
        Some(difference) => match difference.strip_prefix('-') {
            Some(short) => format!("Short by {short} {}.", day.currency),
            None if is_zero(difference) => "Accounts differ, and together they agree.".into(),
            None => format!("Over by {difference} {}.", day.currency),
        },
    }
}

/// RFC 4180: a header, then one row an account. What is not known is an empty field.
pub fn csv(day: &Day) -> Result<String> {
    let unexpected = |error: &dyn std::fmt::Display| Error::Unexpected(format!("writing CSV: {error}"));
    let mut writer = WriterBuilder::new().terminator(Terminator::CRLF).from_writer(Vec::new());
    let header = [
        "book",
        "site",
        "day",
        "spell",
        "state",
        "account_code",
        "account_name",
        "counted_as",
        "currency",
        "expected",
        "opening_float",
        "counted",
        "difference",
        "opened_at",
        "opened_by",
        "closed_at",
        "closed_by",
        "note",
        "entry_id",
        "reopened_at",
        "reopened_by",
        "reason",
        "reversal_id",
    ];
    writer.write_record(header).map_err(|error| unexpected(&error))?;
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let number = |id: &Option<i64>| id.map(|id| id.to_string()).unwrap_or_default();
    for of in &day.accounts {
        let row = [
            day.book.clone(),
            day.site.clone(),
            day.day.to_string(),
            day.spell.to_string(),
            day.state.clone(),
            text(&of.account_code),
            text(&of.account_name),
            text(&of.counted_as),
            day.currency.clone(),
            text(&of.expected),
            text(&of.opening_float),
            text(&of.counted),
            text(&of.difference),
            day.opened_at.clone(),
            day.opened_by.clone(),
            text(&day.closed_at),
            text(&day.closed_by),
            text(&day.note),
            number(&day.entry_id),
            text(&day.reopened_at),
            text(&day.reopened_by),
            text(&day.reason),
            number(&day.reversal_id),
        ];
        writer.write_record(row).map_err(|error| unexpected(&error))?;
    }
    let bytes = writer.into_inner().map_err(|error| unexpected(&error))?;
    String::from_utf8(bytes).map_err(|error| unexpected(&error))
}

pub fn text(day: &Day) -> String {
    let Day { book, currency, site, spell, state, opening_float, opened_at, opened_by, .. } = day;
    let mut text = format!("book {book} in {currency}, site {}, {}: {state}", printable(site), day.day);
    if *spell > 1 || day.reopened_at.is_some() {
        text.push_str(&format!(" (spell {spell})"));
    }
    text.push_str(&format!("\nopened {opened_at} by {}, float {opening_float}\n", printable(opened_by)));
    if let (Some(at), Some(by)) = (&day.closed_at, &day.closed_by) {
        let forced = if day.forced == Some(true) { ", although bills were queued" } else { "" };
        text.push_str(&format!("closed {at} by {}{forced}\n", printable(by)));
    }
    if let Some(note) = &day.note {
        text.push_str(&format!("note: {}\n", printable(note)));
    }
    if let (Some(at), Some(by), Some(reason)) = (&day.reopened_at, &day.reopened_by, &day.reason) {
        text.push_str(&format!("reopened {at} by {}: {}\n", printable(by), printable(reason)));
    }
    text.push_str(&format!("{}\n", verdict(day)));
    if !day.accounts.is_empty() {
        text.push_str(&format!("{}\n", accounts(day)));
    }
    if !day.counts.is_empty() {
        let header = ["count", "account", "counted", "at", "by", "note"];
        let rows = day.counts.iter().map(|of| {
            let note = of.note.clone().unwrap_or_default();
            [&of.count_no.to_string(), &of.account_code, &of.counted, &of.counted_at, &of.counted_by, &note]
                .map(|text| printable(text))
        });
        text.push_str(&format!("\ncounts\n{}\n", table(&header, rows, 2..3)));
    }
    if let Some(entry) = day.entry_id {
        text.push_str(&format!("\nthe difference is entry {entry}"));
        if let Some(reversal) = day.reversal_id {
            text.push_str(&format!(", reversed by entry {reversal}"));
        }
        text.push_str(&format!(": daybook trace CASH_CLOSURE {}/{}\n", printable(site), day.day));
    }
    if !day.late.is_empty() {
        let header = ["late bill", "entry", "kind", "effective", "posted on", "counted accounts"];
        let rows = day.late.iter().map(|of| {
            let bill = format!("{} {}", of.reference_type, of.reference_id);
            let (entry, effective, posting) =
                (of.entry_id.to_string(), of.effective_date.to_string(), of.posting_date.to_string());
            [&bill, &entry, &of.kind, &effective, &posting, &of.amount].map(|text| printable(text))
        });
        text.push_str(&format!("\ncame after the day was closed\n{}\n", table(&header, rows, 5..6)));
    }
    text
}

fn accounts(day: &Day) -> Table {
    let header = ["account", "name", "counted as", "expected", "float", "counted", "difference"];
    let cell = |text: &Option<String>| printable(text.as_deref().unwrap_or_default());
    let row = |of: &Sums| {
        let code = of.account_code.clone().unwrap_or("total".into());
        [
            printable(&code),
            cell(&of.account_name),
            cell(&of.counted_as),
            cell(&of.expected),
            cell(&of.opening_float),
            cell(&of.counted),
            cell(&of.difference),
        ]
    };
    table(&header, day.accounts.iter().chain([&day.total]).map(row), 3..7)
}

/// Rows of texts; `amounts` are the columns that are aligned to the right.
pub fn table<const N: usize>(
    header: &[&str; N],
    rows: impl Iterator<Item = [String; N]>,
    amounts: std::ops::Range<usize>,
) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(header);
    for row in rows {
        table.add_row(row);
    }
    for (at, column) in table.column_iter_mut().enumerate() {
        if amounts.contains(&at) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}
