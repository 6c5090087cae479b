//! The rules of the clinic: bills that are right in the ledger, and not as the clinic wants them. Warnings, for a person to look at.

use std::collections::HashMap;

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::findings::{Finding, FoundBy, Kind, resolve};
use super::plain_sql::PlainRule;
use super::reading::Place;
use super::{Reconciliation, Table, WARNINGS_MAX};
use crate::database::Parameters;
use crate::error::{Doing, NextStep, Result};
use crate::ledger::Scope;
use crate::sql::reconcile as sql;

/// One of the clinic's rules, over time.
struct ClinicRule {
    first_days: Vec<String>,
    /// From that day on; `None` while it is not enabled.
    days: Vec<Option<i32>>,
    today: String,
}

impl Reconciliation {
    pub(super) async fn look_at_rules_of_the_clinic(&mut self, table: &Table) -> Result<()> {
        let zone = self.reading(table)?.time_zone.to_string();
        let rows = self.worker.source.query(sql::CLINIC_RULES, &[&zone]).await.doing("reading the clinic's rules")?;
        let rule = |row: &Row| {
            let (first_days, days, today) = (row.get(1), row.get(2), row.get(3));
            (row.get::<_, String>(0), ClinicRule { first_days, days, today })
        };
        let rules: HashMap<String, ClinicRule> = rows.iter().map(rule).collect();
        let mut findings = Vec::new();
        for (kind, rule) in Kind::OF_THE_CLINIC.into_iter().filter_map(|kind| Some((kind, rules.get(kind.as_str())?))) {
            findings.extend(match kind {
                Kind::ReceivableOverdue => self.overdue_receivables(table, rule).await?,
                Kind::TaxDiffers => self.bills_with_warnings(table, rule).await?,
                _ => match self.rows_against(table, kind, rule).await {
                    // A value of one row that SQL cannot work with; its bill is parked.
                    Err(error) if error.next_step() == NextStep::Park => {
                        self.worker.rollback().await?;
                        tracing::warn!(table.reference_type, "the clinic's rules could not be asked: {error}");
                        return Ok(());
                    }
                    rows => rows?,
                },
            });
        }
        // Where a rule told of as many as are kept, there may be more of them.
        let is_all_of_it = Kind::OF_THE_CLINIC
            .iter()
            .all(|kind| findings.iter().filter(|finding| finding.kind == *kind).count() < WARNINGS_MAX);
        self.keep(findings).await?;
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

    /// Rows of the bill table that a rule is about, in plain SQL from the rule file.
    async fn rows_against(&self, table: &Table, kind: Kind, rule: &ClinicRule) -> Result<Vec<Finding>> {
        let plain = self.plain_rules(table).unwrap_or_default();
        let reading = self.reading(table)?;
        let mut findings: Vec<Finding> = Vec::new();
        for at in 0..plain.len() {
            let Some(condition) = condition(&plain[at], kind) else { continue };
            let discount = reading.rules.versions()[at].discount.as_ref().filter(|_| kind == Kind::DiscountMissing);
            if let Some((given, result)) = discount
                && !self.can_read(reading.table, &[given, result]).await?
            {
                continue; // attached without them, or they are gone: posting has no use for them
            }
            let PlainRule { day, .. } = &plain[at];
            let version = super::totals::version_condition(&plain, at);
            let statement = |bounds: &str| {
                format!(
                    "SELECT {key}, ({day})::text FROM {name} AS bill CROSS JOIN LATERAL (\
                         SELECT r.days FROM unnest($2::text[]::date[], $3::integer[]) AS r (first_day, days) \
                         WHERE r.first_day <= {day} ORDER BY r.first_day DESC LIMIT 1) AS r \
                     WHERE ({day} < $1::date) IS NOT TRUE AND {day} < $4::text::date - r.days AND {condition}{version}{bounds} \
                     LIMIT {WARNINGS_MAX}",
                    key = reading.table.key_expression,
                    name = reading.table.qualified_name,
                )
            };
            let go_live = reading.table.go_live();
            // What is no matter of days is looked at from the first day on.
            let today = if kind == Kind::DraftOverdue { rule.today.as_str() } else { "9999-12-31" };
            let parameters: [&(dyn ToSql + Sync); 4] = [&go_live, &rule.first_days, &rule.days, &today];
            let mut after: Place = None;
            loop {
                let (rows, end) = reading.over_stretch(&self.worker.source, after, &parameters, statement).await?;
                let why = match kind {
                    Kind::DraftOverdue => "is a draft without number for longer than the clinic allows",
                    _ => "has a discount, and no discounted amount",
                };
                findings.extend(rows.iter().map(|row| of_bill(kind, table, row.get(0), row.get(1), why)));
                if end.is_none() || findings.len() >= WARNINGS_MAX {
                    break;
                }
                after = end;
            }
        }
        Ok(findings)
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

fn of_bill(kind: Kind, table: &Table, id: &str, day: &str, why: &str) -> Finding {
    let of = &table.reference_type;
    let subject = format!("{of} {id}");
    Finding {
        reference_id: Some(id.into()),
        day: day.parse().ok(),
        ..Finding::of_table(kind, FoundBy::Clinic, of, &subject, format!("{of} {id}: {why}"))
    }
}
