//! What the ledger is asked about all bills of a table at once, on a session of its own: beside the source, which is read meanwhile.

use std::sync::Arc;

use tokio_postgres::Row;

use super::WARNINGS_MAX;
use super::clinic::{ClinicRule, ClinicRules, of_bill};
use super::findings::{Finding, Kind};
use super::totals::{Totals, cell};
use crate::database::{Parameters, Session};
use crate::error::{Doing, Result};
use crate::sql::reconcile as sql;

/// The ledger's side of one table.
pub(super) struct LedgerScan {
    pub session: Arc<Session>,
    pub book: String,
    pub source: String,
    pub reference_type: String,
}

impl LedgerScan {
    /// What is against the clinic's rules.
    pub async fn warnings(&self, rules: &ClinicRules) -> Result<Vec<Finding>> {
        let mut warnings = Vec::new();
        if let Some(rule) = rules.get(Kind::ReceivableOverdue.as_str()) {
            warnings.extend(self.overdue_receivables(rule).await?);
        }
        if let Some(rule) = rules.get(Kind::TaxDiffers.as_str()) {
            warnings.extend(self.bills_with_warnings(rule).await?);
        }
        Ok(warnings)
    }

    /// The bills that are parked, resolved or retained.
    pub async fn not_current(&self) -> Result<Vec<String>> {
        let parameters: Parameters<'_> = &[&self.book, &self.source, &self.reference_type];
        let rows = self.session.query(sql::NOT_CURRENT_BILLS, parameters).await;
        Ok(rows.doing("reading which bills are parked")?.iter().map(|row| row.get(0)).collect())
    }

    /// Whether status and journal agree: four sums in one statement.
    pub async fn status_agrees(&self) -> Result<bool> {
        let parameters: Parameters<'_> = &[&self.book, &self.source, &self.reference_type];
        let sums = self.session.query_one(sql::STATUS_SUMS, parameters).await.doing("comparing status and journal")?;
        Ok(sums.get("agree"))
    }

    /// What the journal says by site, day of the bill and account.
    pub async fn totals(&self, excluded: &[String]) -> Result<Totals> {
        let parameters: Parameters<'_> = &[&self.book, &self.source, &self.reference_type, &excluded];
        let rows = self.session.query(sql::LEDGER_TOTALS, parameters).await.doing("totalling the journal")?;
        Ok(rows.iter().map(|row| (cell(row, 0), (row.get(3), row.get::<_, &str>(4).parse().ok()))).collect())
    }

    async fn overdue_receivables(&self, rule: &ClinicRule) -> Result<Vec<Finding>> {
        let LedgerScan { book, source, reference_type, .. } = self;
        let most = WARNINGS_MAX as i64;
        let parameters: Parameters<'_> =
            &[&book, &source, &reference_type, &rule.first_days, &rule.days, &rule.today, &most];
        let rows = self.session.query(sql::OVERDUE_RECEIVABLES, parameters).await.doing("looking for what is owed")?;
        let finding = |row: &Row| {
            let (id, owed): (String, String) = (row.get(0), row.get(3));
            let why = format!("is owed since {}, which is longer than the clinic allows", row.get::<_, &str>(2));
            Finding {
                site: row.get(1),
                details: serde_json::json!({"owed": owed}),
                ..of_bill(Kind::ReceivableOverdue, reference_type, &id, row.get(2), &why)
            }
        };
        Ok(rows.iter().map(finding).collect())
    }

    async fn bills_with_warnings(&self, rule: &ClinicRule) -> Result<Vec<Finding>> {
        let LedgerScan { book, source, reference_type, .. } = self;
        let most = WARNINGS_MAX as i64;
        let parameters: Parameters<'_> = &[&book, &source, &reference_type, &rule.first_days, &rule.days, &most];
        let rows = self.session.query(sql::BILLS_WITH_WARNINGS, parameters).await.doing("looking for odd taxes")?;
        let finding = |row: &Row| of_bill(Kind::TaxDiffers, reference_type, row.get(0), row.get(2), row.get(1));
        Ok(rows.iter().map(finding).collect())
    }
}
