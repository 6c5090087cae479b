//! The rules of the clinic: bills that are right in the ledger, and not as the clinic wants them. Warnings, for a person to look at.

use std::collections::HashMap;

use tokio_postgres::Row;

use super::findings::{Finding, FoundBy, Kind, resolve};
use super::plain_sql::PlainRule;
use super::{Reconciliation, Table, WARNINGS_MAX};
use crate::database::{Parameters, Session, quote_literal};
use crate::error::{Doing, Result};
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
        let types: Vec<String> =
            tables.iter().filter(|table| table.how == "every row").map(|table| table.reference_type.clone()).collect();
        if types.is_empty() {
            return Ok(());
        }
        let mut overdue = match self.clinic.get(Kind::ReceivableOverdue.as_str()) {
            Some(rule) => self.overdue_receivables(rule, &types).await?,
            None => Vec::new(),
        };
        for table in tables.iter_mut().filter(|table| types.contains(&table.reference_type)) {
            let of_the_table = |warning: &mut Finding| warning.reference_type.as_ref() == Some(&table.reference_type);
            let mut warnings = std::mem::take(&mut table.warnings);
            warnings.extend(overdue.extract_if(.., of_the_table));
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
