//! `daybook rules check`: a rule file tried on every row of its table.

use std::collections::BTreeMap;

use comfy_table::{Table, presets};

use super::rows::Relation;
use super::{OneFile, Site};
use crate::error::Result;
use crate::posting::desired::{Circumstances, Wanted, desired, problems};
use crate::posting::rule::RuleSet;
use crate::print;

/// So many different problems are told; the rest is counted.
const PROBLEMS_MAX: usize = 500;

#[derive(Default)]
struct Counts {
    posted: u64,
    nothing: u64,
    out_of_scope: u64,
    parked: u64,
    warned: u64,
}

pub async fn check(OneFile { urls, file }: OneFile) -> Result<u8> {
    let site = Site::connect(&urls).await?;
    let rule = site.rule(&file).await?;
    let relation = Relation::of(&site.source, &rule).await?;
    relation.check(&site.source, &rule).await?;
    // The rule alone, whatever other versions there are.
    let rules = RuleSet::parse(&[&rule.definition])
        .map_err(|(_, error)| crate::error::Error::Usage(format!("{}: {error}", file.display())))?;
    let rule = rules.latest();
    let go_live = relation.go_live;
    let circumstances = Circumstances { minor_unit: site.book.minor_unit, site: &site.source_name, go_live };
    let mut counts = Counts::default();
    // What would park, by column, value and reason: how many rows, and one of them.
    let mut found: BTreeMap<(String, String, String), (u64, String)> = BTreeMap::new();
    let mut untold = 0_u64;
    relation
        .each(&site.source, &rules, &site.book.time_zone, async |page| {
            for bill in page {
                match desired(rule, circumstances, &bill.row) {
                    Ok(Wanted::Lines(lines)) => {
                        counts.posted += 1;
                        counts.warned += u64::from(lines.warning.is_some());
                    }
                    Ok(Wanted::Nothing) => counts.nothing += 1,
                    Ok(Wanted::OutOfScope) => counts.out_of_scope += 1,
                    Err(_) => counts.parked += 1,
                }
                for problem in problems(rule, circumstances, &bill.row) {
                    let column = problem.column.unwrap_or_default();
                    let at = rule.columns().iter().position(|mapped| mapped.name == column);
                    let value = match at.map(|at| bill.row[at].as_deref()) {
                        None => String::new(),
                        Some(None) => "(null)".into(),
                        Some(Some(text)) => format!("{text:?}"),
                    };
                    let key = (column, value, problem.reason);
                    if found.len() < PROBLEMS_MAX || found.contains_key(&key) {
                        found.entry(key).or_insert_with(|| (0, bill.reference_id.clone())).0 += 1;
                    } else {
                        untold += 1;
                    }
                }
            }
            Ok(())
        })
        .await?;
    let Counts { posted, nothing, out_of_scope, parked, warned } = counts;
    print::line(format_args!(
        "{}: {posted} rows would be posted, {nothing} amount to nothing, {out_of_scope} are from before go-live, {parked} would be \
         parked; {warned} have a tax that differs from its rate",
        relation.name
    ));
    if found.is_empty() {
        return Ok(0);
    }
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(["column", "value", "rows", "such as", "why it would be parked"]);
    for ((column, value, reason), (rows, example)) in &found {
        table.add_row([column, value, &rows.to_string(), example, reason]);
    }
    print::line(table);
    if untold > 0 {
        print::line(format_args!("and {untold} more rows with other values"));
    }
    Ok(1)
}
