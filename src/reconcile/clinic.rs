//! The rules of the clinic: bills that are right in the ledger, and not as the clinic wants them. Warnings, for a person to look at.

use std::collections::{BinaryHeap, HashMap, HashSet};

use chrono::{Days, NaiveDate};
use rust_decimal::Decimal;
use tokio_postgres::Row;

use super::findings::{Finding, FoundBy, Kind, resolve};
use super::plain_sql::PlainRule;
use super::{Reconciliation, Table, WARNINGS_MAX};
use crate::database::{Parameters, Session, quote_literal};
use crate::error::{Doing, Result};
use crate::posting::desired::Desired;
use crate::sql::reconcile as sql;

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

/// The bills of a table that are owed for longer than the clinic allows, as their rows say: the oldest of them. Pure.
pub(super) struct Owed {
    /// By their first days, ascending: bills from this day on are owed for too long from before the other. `None`: none of them is.
    bounds: Vec<(NaiveDate, Option<NaiveDate>)>,
    accounts: Vec<String>,
    /// Bills whose entries are not to be what their rows say; of those the ledger is asked.
    left_out: HashSet<String>,
    /// Day, bill, site and amount; the youngest first.
    bills: BinaryHeap<(NaiveDate, String, Option<String>, Decimal)>,
}

impl Owed {
    pub fn new(rule: &ClinicRule, accounts: Vec<String>, left_out: Vec<String>) -> Owed {
        let today = rule.today.parse().unwrap_or(NaiveDate::MIN);
        let bound = |(first_day, days): (&String, &Option<i32>)| {
            let first_day = match first_day.as_str() {
                "infinity" => return None,
                first_day => first_day.parse().unwrap_or(NaiveDate::MIN),
            };
            Some((first_day, days.and_then(|days| today.checked_sub_days(Days::new(days.try_into().ok()?)))))
        };
        Owed {
            bounds: rule.first_days.iter().zip(&rule.days).filter_map(bound).collect(),
            accounts,
            left_out: left_out.into_iter().collect(),
            bills: BinaryHeap::new(),
        }
    }

    pub fn look_at(&mut self, id: &str, desired: &Desired) {
        let day = desired.effective_date;
        let bound = self.bounds.iter().rev().find(|(first_day, _)| *first_day <= day).and_then(|(_, bound)| *bound);
        if bound.is_none_or(|bound| day >= bound) {
            return;
        }
        let lines = desired.lines.as_slice().iter().filter(|line| self.accounts.contains(&line.account));
        let owed: Decimal = lines.clone().map(|line| line.amount).sum();
        if owed > Decimal::ZERO && !self.left_out.contains(id) {
            let site = lines.filter_map(|line| line.dimensions.site.clone()).min();
            self.bills.push((day, id.into(), site, owed));
            if self.bills.len() > WARNINGS_MAX {
                self.bills.pop();
            }
        }
    }

    pub fn warnings(self, reference_type: &str, minor_unit: u32) -> impl Iterator<Item = Finding> {
        self.bills.into_sorted_vec().into_iter().map(move |(day, id, site, mut owed)| {
            owed.rescale(minor_unit);
            owed_for_too_long(reference_type, &id, site, &day.to_string(), &owed.to_string())
        })
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
            if let Some(rule) = self.clinic.get(Kind::ReceivableOverdue.as_str()) {
                let told = warnings.iter().filter(|warning| warning.kind == Kind::ReceivableOverdue).count();
                warnings.extend(self.overdue_receivables(rule, &table.reference_type, WARNINGS_MAX - told).await?);
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

    /// What is to look at what the rows of a table amount to; `None` where the clinic does not ask what is owed.
    pub(super) async fn owed_for_too_long(&self, table: &Table) -> Result<Option<Owed>> {
        let Some(rule) = self.clinic.get(Kind::ReceivableOverdue.as_str()) else { return Ok(None) };
        let (_, not_current) = self.not_current(&[&table.reference_type]).await?;
        Ok(Some(Owed::new(rule, self.receivable_accounts().await?, not_current)))
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

/// A bill that is owed since its day.
pub(super) fn owed_for_too_long(
    reference_type: &str,
    id: &str,
    site: Option<String>,
    day: &str,
    owed: &str,
) -> Finding {
    let why = format!("is owed since {day}, which is longer than the clinic allows");
    Finding {
        site,
        details: serde_json::json!({"owed": owed}),
        ..of_bill(Kind::ReceivableOverdue, reference_type, id, day, &why)
    }
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
        let mut owed = Owed::new(&rule, vec!["1100".into()], vec!["retained".into()]);
        bills.iter().for_each(|(id, desired)| owed.look_at(id, desired));
        let told = |finding: Finding| {
            let id = finding.reference_id.expect("it is of a bill");
            format!("{id} {}", finding.details["owed"].as_str().expect("a text"))
        };
        owed.warnings("LAB", 2).map(told).collect()
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
            ("retained", bill("2023-12-30", 1000)),
        ];
        assert_eq!(
            owed(&[("-infinity", Some(7))], &bills),
            ["older 0.05", "old 0.50", "eight 10.00"],
            "more than 7 days"
        );
        let none_of_last_year = [("-infinity", None), ("2024-01-01", Some(7)), ("infinity", Some(1))];
        assert_eq!(owed(&none_of_last_year, &bills), ["eight 10.00"]);
        assert_eq!(
            owed(&[("2023-12-31", Some(91)), ("2024-03-01", Some(8))], &bills),
            [""; 0],
            "91 and 8 days are not too long"
        );
        assert_eq!(owed(&[("2023-12-31", Some(90)), ("2024-03-01", Some(8))], &bills), ["old 0.50"]);
    }

    #[test]
    fn of_what_is_owed_the_oldest_bills_are_kept() {
        let (young, old) = (bill("2024-03-02", 1), bill("2024-03-01", 1));
        let ids: Vec<String> = (0..3 * WARNINGS_MAX).map(|id| format!("{id:06}")).collect();
        let bills: Vec<(&str, Desired)> = ids
            .iter()
            .enumerate()
            .map(|(at, id)| (id.as_str(), if at % 6 == 5 { old.clone() } else { young.clone() }))
            .collect();
        let kept = owed(&[("-infinity", Some(7))], &bills);
        assert_eq!(
            (kept.len(), kept[0].as_str(), kept[WARNINGS_MAX / 2 - 1].as_str()),
            (WARNINGS_MAX, "000005 0.01", "002999 0.01")
        );
        assert_eq!(kept[WARNINGS_MAX / 2], "000000 0.01", "then the younger ones");
    }
}
