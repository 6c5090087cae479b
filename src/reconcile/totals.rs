//! The second proof, by plain SQL on both sides: each table's bills by site, day of the bill and account, from the rule file alone
//! ([`super::plain_sql`]) and from the journal alone. Where a total differs its bills are compared one by one; one that the posting
//! function finds equal, and plain SQL does not, is a finding of its own: then one of the two proofs is wrong.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use rust_decimal::Decimal;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::findings::{Finding, FoundBy, Kind, resolve};
use super::plain_sql::{PlainLine, PlainRule, Surroundings, plain_rule};
use super::reading::{Reading, Stretches};
use super::{BILLS_MAX, FINDINGS_MAX, Reconciliation, Table};
use crate::database::{Parameters, quote_literal};
use crate::error::{Doing, NextStep, Result};
use crate::ledger::{self, Scope};
use crate::sql::reconcile as sql;

/// Site, day and account.
type Cell = (String, String, String);

/// Bills, counted where their first line is; and debit minus credit. `None`: it holds something that nobody can add up.
pub(super) type Totals = BTreeMap<Cell, (i64, Option<Decimal>)>;

/// One bill's amounts.
type Amounts = BTreeMap<Cell, Option<Decimal>>;

/// The account of what plain SQL cannot tell.
const UNTOLD: &str = "?";

/// Which rows of a table.
enum Rows<'a> {
    /// All, summed up.
    Totals,
    /// Those of these days, bill by bill.
    Days(&'a [String]),
    /// Those of these bills.
    Bills(&'a [String]),
}

impl Reconciliation {
    /// Looks at the bills of each site and day whose totals differ.
    pub(super) async fn compare_totals(
        &mut self,
        table: &mut Table,
        rules: &[PlainRule],
        bills: Result<Totals>,
    ) -> Result<()> {
        let bills = match bills {
            // A value of one row that SQL cannot work with.
            Err(error) if error.next_step() == NextStep::Park => {
                self.worker.rollback().await?;
                table.not_proven = Some(format!("its totals cannot be taken in plain SQL: {error}"));
                return Ok(());
            }
            bills => bills?,
        };
        self.beat().await?;
        let journal = std::mem::take(&mut table.posted);
        let cells: BTreeSet<&Cell> = bills.keys().chain(journal.keys()).collect();
        let differ = |cell: &&&Cell| {
            let zero = (0, Some(Decimal::ZERO));
            bills.get(**cell).unwrap_or(&zero).1 != journal.get(**cell).unwrap_or(&zero).1
        };
        let mut days: BTreeSet<String> = cells.iter().filter(differ).map(|(_, day, _)| day.clone()).collect();
        // How many bills there are, whatever their accounts.
        days.extend(days_that_differ_in_number(&bills, &journal));
        if days.is_empty() {
            return self.resolve_totals(table).await;
        }
        let days: Vec<String> = days.into_iter().collect();
        for days in days.chunks(31) {
            self.compare_bills_of(table, rules, days).await?;
            self.beat().await?;
        }
        self.resolve_totals(table).await
    }

    async fn resolve_totals(&self, table: &Table) -> Result<()> {
        let tables = [table.reference_type.clone()];
        resolve(&self.worker.source, self.run, FoundBy::Totals, &tables, false).await?;
        Ok(())
    }

    pub(super) fn plain_rules(&self, table: &Table) -> Result<Vec<PlainRule>, String> {
        let Reading { table, rules, time_zone } = self.reading(table).map_err(|error| error.to_string())?;
        let of = Surroundings {
            table,
            book_zone: time_zone,
            source_name: &self.worker.source_name,
            minor_unit: self.minor_unit,
            texts: &self.texts,
        };
        rules.versions().iter().map(|rule| plain_rule(&rule.definition, of)).collect()
    }

    pub(super) async fn source_totals(&self, table: &Table, rules: &[PlainRule]) -> Result<Totals> {
        let excluded = &table.excluded;
        let reading = self.reading(table)?;
        let mut totals = Totals::new();
        for (at, rule) in rules.iter().enumerate() {
            let mut stretches = Stretches::new();
            while let Some(stretch) = stretches.next(&reading, &self.worker.source).await? {
                let write = |bounds: &str| statement(&reading, rules, at, &Rows::Totals, !excluded.is_empty(), bounds);
                let go_live = reading.table.go_live();
                let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![&go_live];
                if !excluded.is_empty() {
                    parameters.push(excluded);
                }
                for row in &reading.over_stretch(&self.worker.source, &stretch, &parameters, write).await? {
                    add_totals(rule, row, &mut totals);
                }
            }
        }
        Ok(totals)
    }

    /// Compares the bills of some days one by one, and looks at those that differ: by the posting function, and, where that finds them
    /// equal, once more in plain SQL under their locks.
    async fn compare_bills_of(&mut self, table: &mut Table, rules: &[PlainRule], days: &[String]) -> Result<()> {
        let bills = self.source_bills(table, rules, Rows::Days(days)).await?;
        let journal = self.ledger_bills(table, days, &[]).await?;
        let ids: BTreeSet<&String> = bills.keys().chain(journal.keys()).collect();
        let nothing = Amounts::new();
        let excluded: HashSet<&String> = table.excluded.iter().collect();
        let differ = |id: &&String| {
            bills.get(*id).unwrap_or(&nothing) != journal.get(*id).unwrap_or(&nothing) && !excluded.contains(id)
        };
        let differ: Vec<String> = ids.into_iter().filter(differ).cloned().collect();
        // Those that waited are looked at by `disagreements` alone.
        let candidates = differ.iter().filter(|id| !table.left_out.contains(*id)).cloned().collect();
        self.look_at(table, candidates).await?;
        for ids in differ.chunks(BILLS_MAX) {
            let findings = self.disagreements(table, rules, ids).await?;
            table.findings += findings.len() as u64;
            let room = FINDINGS_MAX.saturating_sub(table.kept) as usize;
            table.kept += findings.len() as u64;
            self.keep(findings.into_iter().take(room).collect()).await?;
        }
        Ok(())
    }

    /// The bills on which the two proofs disagree: nothing of theirs is on its way, the posting function finds them equal, and plain SQL
    /// does not. Under their locks.
    async fn disagreements(&mut self, table: &mut Table, rules: &[PlainRule], ids: &[String]) -> Result<Vec<Finding>> {
        let looked = self.recheck(table, ids).await?;
        let began = self.now().await?;
        // What was on its way when this run looked first, and differs now.
        let before: HashSet<&str> = self.findings.iter().map(|finding| finding.key.as_str()).collect();
        let is_new = |(finding, was_judged): &(Finding, bool)| {
            let is_from_before = finding.kind == Kind::Missing && !was_judged && !table.is_backfilled; // counted with those
            !is_from_before && !before.contains(finding.key.as_str())
        };
        let mut findings: Vec<Finding> = looked.differ.into_iter().filter(is_new).map(|(finding, _)| finding).collect();
        let mut equal = looked.equal;
        equal.sort_unstable();
        if equal.is_empty() {
            return Ok(findings);
        }
        let sorted: Vec<&str> = equal.iter().map(String::as_str).collect();
        self.worker.ledger.begin().await.doing("beginning on the ledger")?;
        ledger::lock_bills(&self.worker.ledger, self.scope(table), &sorted).await?;
        let journal = self.ledger_bills_in(&self.worker.ledger, table, &[], &equal).await?;
        let bills = self.source_bills(table, rules, Rows::Bills(&equal)).await?;
        let waits = "SELECT k.id FROM unnest($2::text[]) AS k (id) WHERE EXISTS (
                         SELECT FROM daybook.sync_queue AS q WHERE q.reference_type = $1 AND (q.reference_id = k.id OR q.reference_id IS NULL))";
        // After the rows: what is committed in between is on its way, and excused.
        let waits =
            self.worker.source.query(waits, &[&table.reference_type, &equal]).await.doing("looking at the queue")?;
        let waits: BTreeSet<String> = waits.iter().map(|row| row.get(0)).collect();
        let (_, not_current) = self.not_current(&[&table.reference_type]).await?;
        self.worker.ledger.rollback().await.doing("ending the look")?;
        let nothing = Amounts::new();
        for id in equal.iter().filter(|id| !waits.contains(*id) && !not_current.contains(id)) {
            let (says, has) = (bills.get(id).unwrap_or(&nothing), journal.get(id).unwrap_or(&nothing));
            if says != has {
                let of = &table.reference_type;
                let message = format!(
                    "{of} {id}: the posting function finds the ledger right, and plain SQL written from the rule does not; please report it"
                );
                let day = says.keys().chain(has.keys()).find_map(|(_, day, _)| day.parse().ok());
                findings.push(Finding {
                    reference_id: Some(id.clone()),
                    day,
                    details: serde_json::json!({"bill": told(says), "ledger": told(has)}),
                    ..Finding::of_table(Kind::ProofDisagrees, FoundBy::Totals, of, &format!("{of} {id}"), message)
                });
            }
        }
        let disagree = findings.iter().filter(|finding| finding.kind == Kind::ProofDisagrees);
        let disagree: Vec<String> = disagree.filter_map(|finding| finding.reference_id.clone()).collect();
        let on_their_way = self.on_their_way(table, began, &disagree).await?;
        findings.retain(|finding| finding.reference_id.as_ref().is_none_or(|id| !on_their_way.contains(id)));
        Ok(findings)
    }

    async fn source_bills(
        &self,
        table: &Table,
        rules: &[PlainRule],
        which: Rows<'_>,
    ) -> Result<BTreeMap<String, Amounts>> {
        let reading = self.reading(table)?;
        let mut bills: BTreeMap<String, Amounts> = BTreeMap::new();
        for (at, rule) in rules.iter().enumerate() {
            let go_live = reading.table.go_live();
            let mut add = |rows: &[Row]| {
                for row in rows {
                    let mut totals = Totals::new();
                    add_totals(rule, row, &mut totals);
                    let amounts = totals.into_iter().filter(|(_, (_, amount))| *amount != Some(Decimal::ZERO));
                    let last = row.len() - 1;
                    let Some(id) = row.get::<_, Option<String>>(last) else { continue }; // told by the look at capture
                    bills.entry(id).or_default().extend(amounts.map(|(cell, (_, amount))| (cell, amount)));
                }
            };
            match &which {
                Rows::Bills(ids) => {
                    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
                    let parts = reading.table.key_parts(&ids);
                    let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![&go_live, &ids];
                    parameters.extend(parts.iter().map(|part| part as &(dyn ToSql + Sync)));
                    let source = &self.worker.source;
                    source.begin().await.doing("beginning to read")?;
                    reading.table.hold_still(source).await?;
                    let statement = statement(&reading, rules, at, &which, false, "");
                    let rows = source.query(&statement, &parameters).await.doing("reading bills in plain SQL");
                    source.forget(&statement);
                    add(&rows?);
                    source.commit().await.doing("ending to read")?;
                }
                Rows::Days(_) | Rows::Totals => {
                    let days: Vec<&str> = match &which {
                        Rows::Days(days) => days.iter().map(String::as_str).filter(|day| !day.is_empty()).collect(),
                        _ => Vec::new(),
                    };
                    let mut stretches = Stretches::new();
                    while let Some(stretch) = stretches.next(&reading, &self.worker.source).await? {
                        let write = |bounds: &str| statement(&reading, rules, at, &which, false, bounds);
                        let parameters: [&(dyn ToSql + Sync); 2] = [&go_live, &days];
                        add(&reading.over_stretch(&self.worker.source, &stretch, &parameters, write).await?);
                    }
                }
            }
        }
        bills.retain(|_, amounts| !amounts.is_empty());
        Ok(bills)
    }

    async fn ledger_bills(&self, table: &Table, days: &[String], ids: &[String]) -> Result<BTreeMap<String, Amounts>> {
        self.ledger_bills_in(&self.scans, table, days, ids).await
    }

    async fn ledger_bills_in(
        &self,
        ledger: &crate::database::Session,
        table: &Table,
        days: &[String],
        ids: &[String],
    ) -> Result<BTreeMap<String, Amounts>> {
        let Scope { book, source, reference_type } = self.scope(table);
        let days: Vec<&str> = days.iter().map(String::as_str).filter(|day| !day.is_empty()).collect();
        let parameters: Parameters<'_> = &[&book, &source, &reference_type, &days, &ids];
        let rows = ledger.query(sql::LEDGER_BILLS, parameters).await.doing("reading bills of the journal")?;
        let mut bills: BTreeMap<String, Amounts> = BTreeMap::new();
        for row in &rows {
            let amount = row.get::<_, &str>(4).parse().ok();
            bills.entry(row.get(0)).or_default().insert(cell(row, 1), amount);
        }
        Ok(bills)
    }
}

/// Site, day and account from three columns of a row.
pub(super) fn cell(row: &Row, first: usize) -> Cell {
    let text = |at| row.get::<_, Option<String>>(at).unwrap_or_default();
    (text(first), text(first + 1), text(first + 2))
}

fn days_that_differ_in_number(bills: &Totals, journal: &Totals) -> Vec<String> {
    let count = |totals: &Totals| {
        let mut counts: BTreeMap<(String, String), i64> = BTreeMap::new();
        for ((site, day, _), (bills, _)) in totals {
            *counts.entry((site.clone(), day.clone())).or_default() += bills;
        }
        counts.retain(|_, bills| *bills != 0);
        counts
    };
    let (bills, journal) = (count(bills), count(journal));
    let days: BTreeSet<&(String, String)> = bills.keys().chain(journal.keys()).collect();
    days.into_iter().filter(|day| bills.get(day) != journal.get(day)).map(|(_, day)| day.clone()).collect()
}

fn told(amounts: &Amounts) -> serde_json::Value {
    let text = |amount: &Option<Decimal>| {
        serde_json::Value::String(amount.map_or("cannot be told".into(), |amount| amount.to_string()))
    };
    serde_json::Value::Object(amounts.iter().map(|((_, _, account), amount)| (account.clone(), text(amount))).collect())
}

/// Adds what a row of a statement says, line by line: site, day, choices, bills, whether something cannot be told, amounts.
fn add_totals(rule: &PlainRule, row: &Row, totals: &mut Totals) {
    let text = |at| row.get::<_, Option<String>>(at);
    let (site, day) = (text(0).unwrap_or_default(), text(1).unwrap_or_default());
    let choices: Vec<Option<String>> = (0..rule.choices.len()).map(|at| text(2 + at)).collect();
    let first = 2 + choices.len();
    let (bills, untold): (i64, i64) = (row.get(first), row.get(first + 1));
    let amounts: Vec<Option<Decimal>> =
        (0..rule.amounts.len()).map(|at| text(first + 2 + at).and_then(|amount| amount.parse().ok())).collect();
    if untold > 0 {
        totals.entry((site.clone(), day.clone(), UNTOLD.into())).or_default().1 = None;
    }
    let mut counts = bills;
    for PlainLine { amount, is_credit, account } in &rule.lines {
        let account = match account {
            Ok(account) => account.clone(),
            Err(choice) => choices[*choice].clone().unwrap_or_else(|| UNTOLD.into()),
        };
        let (count, sum) = totals.entry((site.clone(), day.clone(), account)).or_insert((0, Some(Decimal::ZERO)));
        *count += std::mem::take(&mut counts);
        *sum = match (*sum, amounts[*amount]) {
            (Some(sum), Some(amount)) => Some(if *is_credit { sum - amount } else { sum + amount }),
            (Some(sum), None) if bills == 0 => Some(sum),
            _ => None,
        };
    }
}

/// Whether a row is judged by a version: the latest by whose own date the bill is not before its first day.
pub(super) fn version_condition(rules: &[PlainRule], at: usize) -> String {
    let mut conditions: Vec<String> = rules[at + 1..]
        .iter()
        .filter_map(|later| {
            let from = later.valid_from.as_ref()?;
            Some(format!("({} < {}::date) IS NOT FALSE", later.day, quote_literal(from)))
        })
        .collect();
    let rule = &rules[at];
    conditions.extend(rule.valid_from.as_ref().map(|from| format!("{} >= {}::date", rule.day, quote_literal(from))));
    conditions.iter().map(|condition| format!(" AND {condition}")).collect()
}

/// Parameters: $1 go-live date; then the bills to leave out, or the days, or ids and the parts of their keys.
fn statement(
    reading: &Reading<'_>,
    rules: &[PlainRule],
    at: usize,
    which: &Rows<'_>,
    excludes: bool,
    bounds: &str,
) -> String {
    let (rule, table) = (&rules[at], reading.table);
    let amounts: String = rule
        .amounts
        .iter()
        .enumerate()
        .map(|(at, amount)| format!(" CROSS JOIN LATERAL (SELECT {amount} AS v OFFSET 0) AS a{at}"))
        .collect();
    let choices: String = rule.choices.iter().map(|(_, choice)| format!(", {choice}")).collect();
    let choices: String = match choices.is_empty() {
        true => String::new(),
        false => {
            let names = (0..rule.choices.len()).map(|at| format!("c{at}")).collect::<Vec<_>>().join(", ");
            let values = rule.choices.iter().map(|(_, choice)| choice.as_str()).collect::<Vec<_>>().join(", ");
            format!(" CROSS JOIN LATERAL (SELECT {values} OFFSET 0) AS c ({names})")
        }
    };
    let used: BTreeSet<usize> = rule.lines.iter().map(|line| line.amount).collect();
    let is_something = used.iter().map(|at| format!("a{at}.v <> 0")).collect::<Vec<_>>().join(" OR ");
    let cannot_be_told = used.iter().map(|at| format!("a{at}.v IS NULL")).collect::<Vec<_>>().join(" OR ");
    let version = version_condition(rules, at);
    let (mut joins, mut conditions, mut id) = (String::new(), String::new(), String::new());
    match which {
        Rows::Totals if excludes => {
            joins = format!(" LEFT JOIN unnest($2::text[]) AS x (id) ON x.id = {}", table.key_expression);
            conditions = " AND x.id IS NULL".into();
        }
        Rows::Totals => {}
        Rows::Days(_) => {
            id = format!(", {}", table.key_expression);
            conditions = format!(" AND ({} = ANY ($2::text[]::date[])) IS NOT FALSE", rule.day);
        }
        Rows::Bills(_) => {
            id = ", k.reference_id".into();
            let parts = 1..=table.key_types.len();
            let parameters: String = parts.clone().map(|part| format!(", ${}::text[]", part + 2)).collect();
            let names: String = parts.map(|part| format!(", part_{part}")).collect();
            joins =
                format!(" JOIN unnest($2::text[]{parameters}) AS k (reference_id{names}) ON {}true", table.key_match());
        }
    }
    let groups = 2 + rule.choices.len() + usize::from(!id.is_empty());
    let mut group_by: Vec<String> = (1..=2 + rule.choices.len()).map(|at| at.to_string()).collect();
    if !id.is_empty() {
        // The id stands last, after bills, untold, and the amounts.
        group_by.push((2 + rule.choices.len() + 2 + rule.amounts.len() + 1).to_string());
    }
    debug_assert_eq!(group_by.len(), groups);
    let chosen: String = (0..rule.choices.len()).map(|at| format!(", c.c{at}")).collect();
    let sums: String = (0..rule.amounts.len()).map(|at| format!(", sum(a{at}.v)::text")).collect();
    format!(
        "SELECT {site}, ({day})::text{chosen}, count(*) FILTER (WHERE {is_something}), \
         count(*) FILTER (WHERE ({counts}) IS NULL OR {cannot_be_told} OR ({day}) IS NULL){sums}{id} \
         FROM {name} AS bill{joins}{amounts}{choices} \
         WHERE ({day} < $1::date) IS NOT TRUE AND ({counts}) IS NOT FALSE{version}{conditions}{bounds} \
         GROUP BY {groups}",
        site = rule.site,
        day = rule.day,
        counts = rule.counts,
        name = table.qualified_name,
        groups = group_by.join(", "),
    )
}
