//! Whether the guards of the ledger's tables stand, run the functions that they should, and nothing goes past them.

use serde::de::DeserializeOwned;

use super::{Finding, Kind, Plain, Report};
use crate::database::Side;
use crate::doctor::facts::{Function, Guards};
use crate::doctor::{broken_guards, changed_functions, functions_in, inheritance};
use crate::error::{Error, Result};
use crate::install::shipped_functions;

pub(super) async fn look(plain: &Plain<'_>, report: &mut Report) -> Result<()> {
    let guards: Guards = facts(plain, include_str!("../../sql/doctor/guards.sql")).await?;
    let functions: Vec<Function> = facts(plain, include_str!("../../sql/doctor/functions.sql")).await?;
    let mut shipped = Vec::new();
    for text in shipped_functions(Side::Ledger) {
        shipped.extend(functions_in(text).map_err(Error::Unexpected)?);
    }
    let mut found = broken_guards(&guards, &functions, Side::Ledger);
    found.extend(inheritance(&guards, Side::Ledger));
    found.extend(changed_functions(&shipped, &functions, "ledger", Side::Ledger));
    for finding in found {
        report.add(Finding::new(Kind::Guard, format!("{} {}", finding.subject, finding.problem)));
    }
    Ok(())
}

async fn facts<T: DeserializeOwned>(plain: &Plain<'_>, sql: &str) -> Result<T> {
    let rows = plain.ask(sql, &[&"ledger"]).await?;
    let value = rows.first().map(|row| row.get(0)).unwrap_or_default();
    serde_json::from_value(value).map_err(|error| Error::Unexpected(format!("reading the guards: {error}")))
}
