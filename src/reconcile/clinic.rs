//! The rules of the clinic: bills that are right in the ledger, and not as the clinic wants them. Warnings, for a person to look at.

use std::collections::HashMap;

use tokio_postgres::Row;

use super::findings::{Finding, FoundBy, Kind, resolve};
use super::plain_sql::PlainRule;
use super::{Reconciliation, Table, WARNINGS_MAX};
use crate::database::{Parameters, quote_literal};
use crate::error::{Doing, Result};
use crate::ledger::Scope;
use crate::sql::reconcile as sql;

/// One of the clinic's rules, over time.
struct ClinicRule {
    first_days: Vec<String>,
    /// From that day on; `None` while it is not enabled.
    days: Vec<Option<i32>>,
    today: String,
}

/// One of the clinic's rules about rows of a bill table, as SQL about a row `bill`.
pub(super) struct RowRule {
    pub kind: Kind,
    /// The day of the bill where its row is against the rule, as text, else null. $1 is the go-live date.
    pub day_where_against: String,
}

impl Reconciliation {
    async fn rules_of_the_clinic(&self, table: &Table) -> Result<HashMap<String, ClinicRule>> {
        let zone = self.reading(table)?.time_zone.to_string();
        let rows = self.worker.source.query(sql::CLINIC_RULES, &[&zone]).await.doing("reading the clinic's rules")?;
        let rule = |row: &Row| {
            let (first_days, days, today) = (row.get(1), row.get(2), row.get(3));
            (row.get::<_, String>(0), ClinicRule { first_days, days, today })
        };
        Ok(rows.iter().map(rule).collect())
    }

    /// What each row that is read is asked besides, so that the table is read once.
    pub(super) async fn rules_about_rows(&self, table: &Table) -> Result<Vec<RowRule>> {
        let rules = self.rules_of_the_clinic(table).await?;
        let plain = self.plain_rules(table).unwrap_or_default();
        let versions = self.reading(table)?.rules.versions();
        let mut about_rows = Vec::new();
        for kind in [Kind::DraftOverdue, Kind::DiscountMissing] {
            let Some(rule) = rules.get(kind.as_str()).filter(|rule| rule.days.iter().any(Option::is_some)) else {
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

    /// What the ledger alone can tell.
    pub(super) async fn warnings_of_the_ledger(&self, table: &Table) -> Result<Vec<Finding>> {
        let rules = self.rules_of_the_clinic(table).await?;
        let mut findings = Vec::new();
        if let Some(rule) = rules.get(Kind::ReceivableOverdue.as_str()) {
            findings.extend(self.overdue_receivables(table, rule).await?);
        }
        if let Some(rule) = rules.get(Kind::TaxDiffers.as_str()) {
            findings.extend(self.bills_with_warnings(table, rule).await?);
        }
        Ok(findings)
    }

    /// Keeps what rows and ledger said that is against the rules, and closes what is over.
    pub(super) async fn keep_warnings(&mut self, table: &mut Table) -> Result<()> {
        let warnings = std::mem::take(&mut table.warnings);
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
        Ok(())
    }

    async fn overdue_receivables(&self, table: &Table, rule: &ClinicRule) -> Result<Vec<Finding>> {
        let Scope { book, source, reference_type } = self.scope(table);
        let most = WARNINGS_MAX as i64;
        let parameters: Parameters<'_> =
            &[&book, &source, &reference_type, &rule.first_days, &rule.days, &rule.today, &most];
        let rows = self.scans.query(sql::OVERDUE_RECEIVABLES, parameters).await.doing("looking for what is owed")?;
        let finding = |row: &Row| {
            let (id, owed): (String, String) = (row.get(0), row.get(3));
            let why = format!("is owed since {}, which is longer than the clinic allows", row.get::<_, &str>(2));
            Finding {
                site: row.get(1),
                details: serde_json::json!({"owed": owed}),
                ..of_bill(Kind::ReceivableOverdue, table, &id, row.get(2), &why)
            }
        };
        Ok(rows.iter().map(finding).collect())
    }

    async fn bills_with_warnings(&self, table: &Table, rule: &ClinicRule) -> Result<Vec<Finding>> {
        let Scope { book, source, reference_type } = self.scope(table);
        let most = WARNINGS_MAX as i64;
        let parameters: Parameters<'_> = &[&book, &source, &reference_type, &rule.first_days, &rule.days, &most];
        let rows = self.scans.query(sql::BILLS_WITH_WARNINGS, parameters).await.doing("looking for odd taxes")?;
        Ok(rows.iter().map(|row| of_bill(Kind::TaxDiffers, table, row.get(0), row.get(2), row.get(1))).collect())
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
    // What is no matter of days is looked at from the first day on.
    let today = if kind == Kind::DraftOverdue { rule.today.as_str() } else { "9999-12-31" };
    let days = rule.days.iter().map(|days| days.map_or("NULL".to_string(), |days| days.to_string()));
    let array = |values: Vec<String>| quote_literal(&format!("{{{}}}", values.join(",")));
    format!(
        "CASE WHEN {condition} AND ({day} < $1::date) IS NOT TRUE{version} AND {day} < {today}::date - (\
             SELECT r.days FROM unnest({first_days}::date[], {days}::integer[]) AS r (first_day, days) \
             WHERE r.first_day <= {day} ORDER BY r.first_day DESC LIMIT 1) \
         THEN ({day})::text END",
        today = quote_literal(today),
        first_days = array(rule.first_days.clone()),
        days = array(days.collect()),
    )
}

/// What a row says that is against a rule.
pub(super) fn warning(kind: Kind, table: &Table, id: &str, day: &str) -> Finding {
    let why = match kind {
        Kind::DraftOverdue => "is a draft without number for longer than the clinic allows",
        _ => "has a discount, and no discounted amount",
    };
    of_bill(kind, table, id, day, why)
}

fn of_bill(kind: Kind, table: &Table, id: &str, day: &str, why: &str) -> Finding {
    let of = &table.reference_type;
    let subject = format!("{of} {id}");
    Finding {
        reference_id: Some(id.into()),
        day: day.parse().ok(),
        ..Finding::of_table(kind, FoundBy::Clinic, of, &subject, format!("{of} {id}: {why}"))
    }
}
