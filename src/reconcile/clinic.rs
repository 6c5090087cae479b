//! The rules of the clinic: bills that are right in the ledger, and not as the clinic wants them. Warnings, for a person to look at.

use std::collections::{BTreeSet, BinaryHeap, HashMap};

use chrono::{Days, NaiveDate};
use rust_decimal::Decimal;
use tokio_postgres::Row;

use super::bills::PAGE;
use super::findings::{Finding, FoundBy, Kind, resolve};
use super::plain_sql::PlainRule;
use super::{Reconciliation, Table, WARNINGS_MAX};
use crate::database::{Parameters, Session, quote_literal};
use crate::error::{Doing, Result};
use crate::posting::desired::Desired;
use crate::sql::reconcile as sql;
use crate::synchronise::Worker;

/// One of the clinic's rules, over time.
pub(super) struct ClinicRule {
    pub first_days: Vec<String>,
    /// From that day on; `None` while it is not enabled.
    pub days: Vec<Option<i32>>,
    pub today: String,
}

/// By the kind of what is against them.
pub(super) type ClinicRules = HashMap<String, ClinicRule>;

/// One of the clinic's rules about rows of a bill table, as SQL about a row `bill`.
pub(super) struct RowRule {
    pub kind: Kind,
    /// The day of the bill where its row is against the rule, as text, else null. $1 is the go-live date.
    pub day_where_against: String,
}

/// The bills that are owed for longer than the clinic allows by their rows: the oldest of them, for the ledger to be asked whether they
/// are. Pure.
pub(super) struct Owed {
    /// By their first days, ascending: bills from this day on are owed for too long from before the other. `None`: none of them is.
    bounds: Vec<(NaiveDate, Option<NaiveDate>)>,
    accounts: Vec<String>,
    /// By their days, the youngest first.
    bills: BinaryHeap<(NaiveDate, String)>,
}

impl Owed {
    /// By a rule, and the accounts of what parties owe.
    pub fn new(rule: &ClinicRule, accounts: Vec<String>) -> Owed {
        let today = rule.today.parse().unwrap_or(NaiveDate::MIN);
        let bound = |(first_day, days): (&String, &Option<i32>)| {
            let is_before_all = first_day == "-infinity" || first_day.ends_with(" BC");
            let first_day = if is_before_all { NaiveDate::MIN } else { first_day.parse().ok()? }; // none is after all bills
            Some((first_day, days.and_then(|days| today.checked_sub_days(Days::new(days.try_into().ok()?)))))
        };
        let bounds = rule.first_days.iter().zip(&rule.days).filter_map(bound).collect();
        Owed { bounds, accounts, bills: BinaryHeap::new() }
    }

    pub fn look_at(&mut self, id: &str, desired: &Desired) {
        let day = desired.effective_date;
        let bound = self.bounds.iter().rev().find(|(first_day, _)| *first_day <= day).and_then(|(_, bound)| *bound);
        if bound.is_none_or(|bound| day >= bound) {
            return;
        }
        let lines = desired.lines.as_slice().iter().filter(|line| self.accounts.contains(&line.account));
        if lines.map(|line| line.amount).sum::<Decimal>() > Decimal::ZERO {
            self.bills.push((day, id.into()));
            if self.bills.len() > WARNINGS_MAX {
                self.bills.pop();
            }
        }
    }

    pub fn into_bills(self) -> impl Iterator<Item = String> {
        self.bills.into_iter().map(|(_, id)| id)
    }
}

/// Those of now; `zone` is the book's.
pub(super) async fn rules(source: &Session, zone: &str) -> Result<ClinicRules> {
    let rows = source.query(sql::CLINIC_RULES, &[&zone]).await.doing("reading the clinic's rules")?;
    let rule = |row: &Row| {
        let (first_days, days, today) = (row.get(1), row.get(2), row.get(3));
        (row.get::<_, String>(0), ClinicRule { first_days, days, today })
    };
    Ok(rows.iter().map(rule).collect())
}

impl Reconciliation {
    /// What each row that is read is asked besides, so that the table is read once.
    pub(super) async fn rules_about_rows(&self, table: &Table) -> Result<Vec<RowRule>> {
        let plain = self.plain_rules(table).unwrap_or_default();
        let versions = self.reading(table)?.rules.versions();
        let mut about_rows = Vec::new();
        for kind in [Kind::DraftOverdue, Kind::DiscountMissing] {
            let Some(rule) = self.clinic.get(kind.as_str()).filter(|rule| rule.days.iter().any(Option::is_some)) else {
                continue;
            };
            let mut days = Vec::new();
            for (at, version) in versions.iter().enumerate().take(plain.len()) {
                let Some(condition) = condition(&plain[at], kind) else { continue };
                let discount = version.discount.as_ref().filter(|_| kind == Kind::DiscountMissing);
                if let Some((given, result)) = discount
                    && !self.can_read(self.reading(table)?.table, &[given, result]).await?
                {
                    continue; // attached without them, or they are gone: posting has no use for them
                }
                days.push(day_where_against(rule, kind, condition, &plain, at));
            }
            if !days.is_empty() {
                about_rows.push(RowRule { kind, day_where_against: format!("coalesce({})", days.join(", ")) });
            }
        }
        Ok(about_rows)
    }

    /// Keeps what the rows that were read and the ledger say that is against the rules, and closes what is over.
    pub(super) async fn look_for_warnings(&mut self, tables: &mut [Table]) -> Result<()> {
        for table in tables.iter_mut().filter(|table| table.how == "every row") {
            let mut warnings = std::mem::take(&mut table.warnings);
            if self.clinic.contains_key(Kind::ReceivableOverdue.as_str()) {
                warnings.extend(self.overdue_receivables(table).await?);
            }
            if let Some(rule) = self.clinic.get(Kind::TaxDiffers.as_str()) {
                warnings.extend(self.bills_with_warnings(rule, &table.reference_type).await?);
            }
            // Where a rule told of as many as are kept, there may be more of them.
            let is_all_of_it = !table.has_unasked_rows
                && Kind::OF_THE_CLINIC
                    .iter()
                    .all(|kind| warnings.iter().filter(|warning| warning.kind == *kind).count() < WARNINGS_MAX);
            self.keep(warnings).await?;
            if is_all_of_it {
                let tables = [table.reference_type.clone()];
                resolve(&self.worker.source, self.run, FoundBy::Clinic, &tables, false).await?;
            }
            self.beat().await?;
        }
        Ok(())
    }

    /// What is to look at what rows amount to; `None` where the clinic does not ask what is owed.
    pub(super) async fn owed_for_too_long(&self) -> Result<Option<Owed>> {
        let Some(rule) = self.clinic.get(Kind::ReceivableOverdue.as_str()) else { return Ok(None) };
        let accounts = self.worker.ledger.query(sql::RECEIVABLE_ACCOUNTS, &[&self.worker.book]).await;
        let accounts = accounts.doing("reading the accounts of what is owed")?.iter().map(|row| row.get(0)).collect();
        Ok(Some(Owed::new(rule, accounts)))
    }

    /// Bills of a table that are owed for too long by the ledger, the oldest of them. It is asked of those that are by their rows; of those
    /// whose entries are not to be what their rows say, or whose rows cannot be read; and of those that were.
    async fn overdue_receivables(&mut self, table: &mut Table) -> Result<Vec<Finding>> {
        let (_, not_current) = self.not_current(&[&table.reference_type]).await?;
        let mut asked: BTreeSet<String> =
            std::mem::take(&mut table.may_be_owed).into_iter().chain(not_current).collect();
        let mut last = String::new();
        while let Some(page) = self.open_findings(FoundBy::Clinic, table, &last).await? {
            last.clone_from(&page[page.len() - 1]);
            asked.extend(page);
        }
        let asked: Vec<String> = asked.into_iter().collect();
        let mut overdue: Vec<Finding> = Vec::new();
        for bills in asked.chunks(PAGE as usize) {
            let Worker { book, source_name, ledger, .. } = &self.worker;
            let Some(ClinicRule { first_days, days, today }) = self.clinic.get(Kind::ReceivableOverdue.as_str()) else {
                break;
            };
            let (of, most) = (&table.reference_type, WARNINGS_MAX as i64);
            let parameters: Parameters<'_> = &[book, source_name, of, &bills, first_days, days, today, &most];
            let rows = ledger.query(sql::OVERDUE_RECEIVABLES, parameters).await.doing("looking for what is owed")?;
            overdue.extend(rows.iter().map(|row| {
                let (id, day): (&str, &str) = (row.get(0), row.get(2));
                let why = format!("is owed since {day}, which is longer than the clinic allows");
                Finding {
                    site: row.get(1),
                    details: serde_json::json!({"owed": row.get::<_, &str>(3)}),
                    ..of_bill(Kind::ReceivableOverdue, of, id, day, &why)
                }
            }));
            overdue.sort_by(|a, b| (a.day, &a.reference_id).cmp(&(b.day, &b.reference_id)));
            overdue.truncate(WARNINGS_MAX);
            self.beat().await?;
        }
        Ok(overdue)
    }

    async fn can_read(&self, table: &crate::capture::Table, columns: &[&String]) -> Result<bool> {
        let sql = "SELECT count(*) FROM pg_attribute
                   WHERE attrelid = $1 AND attname = ANY ($2) AND NOT attisdropped AND has_column_privilege(attrelid, attnum, 'SELECT')";
        let parameters: Parameters<'_> = &[&table.relation, &columns];
        let count = self.worker.source.query_one(sql, parameters).await.doing("looking at the columns")?;
        Ok(count.get::<_, i64>(0) == columns.len() as i64)
    }
}

fn condition(rule: &PlainRule, kind: Kind) -> Option<&String> {
    match kind {
        Kind::DraftOverdue => rule.is_draft.as_ref(),
        _ => rule.lacks_discount.as_ref(),
    }
}

fn day_where_against(rule: &ClinicRule, kind: Kind, condition: &str, plain: &[PlainRule], at: usize) -> String {
    let PlainRule { day, .. } = &plain[at];
    let version = super::totals::version_condition(plain, at);
    // What is no matter of days is looked at from the first day on. A condition that is null ends there, too: else each row would ask for
    // the rule of its day.
    let today = if kind == Kind::DraftOverdue { rule.today.as_str() } else { "9999-12-31" };
    let days = rule.days.iter().map(|days| days.map_or("NULL".to_string(), |days| days.to_string()));
    let array = |values: Vec<String>| quote_literal(&format!("{{{}}}", values.join(",")));
    format!(
        "CASE WHEN ({condition}) IS TRUE AND ({day} < $1::date) IS NOT TRUE{version} AND {day} < {today}::date - (\
             SELECT r.days FROM unnest({first_days}::date[], {days}::integer[]) AS r (first_day, days) \
             WHERE r.first_day <= {day} ORDER BY r.first_day DESC LIMIT 1) \
         THEN ({day})::text END",
        today = quote_literal(today),
        first_days = array(rule.first_days.clone()),
        days = array(days.collect()),
    )
}

/// What a row says that is against a rule.
pub(super) fn warning(kind: Kind, reference_type: &str, id: &str, day: &str) -> Finding {
    let why = match kind {
        Kind::DraftOverdue => "is a draft without number for longer than the clinic allows",
        _ => "has a discount, and no discounted amount",
    };
    of_bill(kind, reference_type, id, day, why)
}

pub(super) fn of_bill(kind: Kind, of: &str, id: &str, day: &str, why: &str) -> Finding {
    let subject = format!("{of} {id}");
    Finding {
        reference_id: Some(id.into()),
        day: day.parse().ok(),
        ..Finding::of_table(kind, FoundBy::Clinic, of, &subject, format!("{of} {id}: {why}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::posting::lines::{BalancedLines, Dimensions, Line};

    const TODAY: &str = "2024-03-31";

    /// A bill of this day whose parties owe so much, in cents.
    fn bill(day: &str, owed: i64) -> Desired {
        let line = |account: &str, cents| Line {
            account: account.into(),
            amount: Decimal::new(cents, 2),
            is_settlement: false,
            dimensions: Dimensions { site: Some("north".into()), ..Dimensions::default() },
        };
        let lines = BalancedLines::net([line("1100", owed), line("1000", 500), line("4000", -500 - owed)]);
        Desired { effective_date: day.parse().expect("a day"), lines: lines.expect("they balance"), warning: None }
    }

    fn owed(first_days: &[(&str, Option<i32>)], bills: &[(&str, Desired)]) -> Vec<String> {
        let rule = ClinicRule {
            first_days: first_days.iter().map(|(day, _)| day.to_string()).collect(),
            days: first_days.iter().map(|(_, days)| *days).collect(),
            today: TODAY.into(),
        };
        let mut owed = Owed::new(&rule, vec!["1100".into()]);
        bills.iter().for_each(|(id, desired)| owed.look_at(id, desired));
        let bills: BTreeSet<String> = owed.into_bills().collect();
        bills.into_iter().collect()
    }

    #[test]
    fn a_bill_is_owed_for_too_long_by_the_rule_of_its_day() {
        let bills = [
            ("eight", bill("2024-03-23", 1000)),
            ("seven", bill("2024-03-24", 1000)),
            ("old", bill("2023-12-31", 50)),
            ("older", bill("2023-12-30", 5)),
            ("paid", bill("2023-12-30", 0)),
            ("credit note", bill("2023-12-30", -1000)),
        ];
        assert_eq!(owed(&[("-infinity", Some(7))], &bills), ["eight", "old", "older"], "more than 7 days");
        assert_eq!(owed(&[("0044-03-15 BC", Some(7)), ("10000-01-01", Some(999))], &bills), ["eight", "old", "older"]);
        let none_of_last_year = [("-infinity", None), ("2024-01-01", Some(7)), ("infinity", Some(1))];
        assert_eq!(owed(&none_of_last_year, &bills), ["eight"]);
        let by_day = |days| [("2023-12-31", Some(days)), ("2024-03-01", Some(8))];
        assert_eq!(owed(&by_day(91), &bills), [""; 0], "91 and 8 days are not too long");
        assert_eq!(owed(&by_day(90), &bills), ["old"]);
    }

    #[test]
    fn of_what_is_owed_the_oldest_bills_are_kept() {
        let (young, old) = (bill("2024-03-02", 1), bill("2024-03-01", 1));
        let ids: Vec<String> = (0..3 * WARNINGS_MAX).map(|id| format!("{id:06}")).collect();
        let of = |at: usize| if at % 6 == 5 { old.clone() } else { young.clone() };
        let bills: Vec<(&str, Desired)> = ids.iter().enumerate().map(|(at, id)| (id.as_str(), of(at))).collect();
        let kept = owed(&[("-infinity", Some(7))], &bills);
        assert_eq!(kept.len(), WARNINGS_MAX);
        let old: Vec<&String> = ids.iter().skip(5).step_by(6).collect();
        assert!(
            old.iter().all(|id| kept.contains(id)),
            "all of the old ones, and of the younger ones as many as there is room for"
        );
    }
}
