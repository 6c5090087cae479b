//! `daybook rules preview`: what a rule file would change, by the very functions that post, without posting.

use std::collections::BTreeMap;

use comfy_table::{CellAlignment, Table, presets};
use rust_decimal::Decimal;

use super::rows::Relation;
use super::{OneFile, Site};
use crate::database::Session;
use crate::error::{Doing, Result};
use crate::journal::live_entries;
use crate::posting::desired::{Circumstances, Wanted, desired};
use crate::posting::entries::{LiveEntry, entries};
use crate::print;

/// An account's balance over the bills looked at, before and after.
#[derive(Default)]
struct Balance {
    before: Decimal,
    change: Decimal,
}

pub async fn preview(OneFile { urls, file }: OneFile) -> Result<u8> {
    let Site { source, ledger, source_name, book_name, book } = Site::connect(&urls).await?;
    let site = Site { source, ledger, source_name, book_name, book };
    let rule = site.rule(&file).await?;
    let rules = site.with(&rule).await?;
    let relation = Relation::of(&site.source, &rule).await?;
    let today = "SELECT timezone($1, clock_timestamp())::date";
    let today = site.source.query_one(today, &[&site.book.time_zone]).await.doing("asking for the day")?.get(0);
    let Site { source, ledger, source_name, book_name, book } = site;
    let ledger = Session::new(ledger);
    let circumstances = Circumstances { minor_unit: book.minor_unit, site: &source_name, go_live: relation.go_live };

    let mut kinds: BTreeMap<&str, u64> = BTreeMap::new();
    let mut balances: BTreeMap<String, Balance> = BTreeMap::new();
    let (mut bills, mut changed, mut parked, mut in_closed) = (0_u64, 0_u64, 0_u64, 0_u64);
    relation
        .each(&source, &rules, &book.time_zone, async |page| {
            let ids: Vec<&str> = page.iter().map(|bill| bill.reference_id.as_str()).collect();
            let sql = include_str!("../../sql/rules/live_entry_ids.sql");
            let rows = ledger.query(sql, &[&book_name, &source_name, &rule.reference_type, &ids]).await;
            let live_ids: BTreeMap<String, Vec<i64>> =
                rows.doing("reading what is posted")?.iter().map(|row| (row.get(0), row.get(1))).collect();
            let all: Vec<i64> = live_ids.values().flatten().copied().collect();
            let mut live = live_entries(&ledger, &all).await?;
            for bill in page {
                bills += 1;
                let ids = live_ids.get(&bill.reference_id).map(Vec::as_slice).unwrap_or_default();
                let live: Vec<LiveEntry> = ids.iter().filter_map(|id| live.remove(id)).collect();
                for line in live.iter().flat_map(|entry| entry.lines.as_slice()) {
                    balances.entry(line.account.clone()).or_default().before += line.amount;
                }
                let wanted = rules.version_for(&bill.row).and_then(|rule| desired(rule, circumstances, &bill.row));
                let wanted = match wanted {
                    Ok(Wanted::Lines(desired)) => Some(desired),
                    Ok(Wanted::Nothing | Wanted::OutOfScope) => None,
                    Err(_) => {
                        parked += 1;
                        continue;
                    }
                };
                let entries = entries(wanted.as_ref(), &live, today, &book.calendar);
                changed += u64::from(!entries.is_empty());
                in_closed += u64::from(entries.iter().any(|entry| book.calendar.is_closed(entry.effective_date)));
                for entry in &entries {
                    *kinds.entry(entry.kind.as_str()).or_default() += 1;
                    for line in entry.lines.as_slice() {
                        balances.entry(line.account.clone()).or_default().change += line.amount;
                    }
                }
            }
            Ok(())
        })
        .await?;

    let count = |kind: &str| kinds.get(kind).copied().unwrap_or_default();
    print::line(format_args!(
        "{bills} bills of {}: {changed} would change, {parked} would be parked and keep what they have. To be posted: {} originals, \
         {} reversals, {} corrections, {} settlements",
        relation.name,
        count("original"),
        count("reversal"),
        count("correction"),
        count("settlement")
    ));
    if in_closed > 0 {
        print::line(format_args!(
            "{in_closed} of them belong to closed periods: those stay as they are, and the entries are posted today, or on the first open day after it"
        ));
    }
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(["account", "before", "after", "change"]);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    for (account, Balance { before, change }) in &balances {
        let money = |amount: Decimal| {
            let mut amount = amount;
            amount.rescale(book.minor_unit);
            amount.to_string()
        };
        table.add_row([account.clone(), money(*before), money(before + change), money(*change)]);
    }
    print::line(table);
    Ok(0)
}
