//! Closed days of cash, as far as a batch needs them.
//!
//! A bill may have any date, and a clinic closes a day for each site for years. So nobody reads them all: once a batch knows on which
//! days it would post for which sites, it asks for those alone. It holds the book, so that none is closed until it has committed.

use std::collections::BTreeSet;

use chrono::NaiveDate;

use crate::database::Session;
use crate::error::{Doing, Result};
use crate::judgement::Judgement;
use crate::posting::entries::{Calendar, ClosedCash};
use crate::sql;

/// Looks which days that the judgements would post on are closed for their sites, and takes them up. Returns whether there was any: then
/// the bills have to be judged again. Asks nothing where the book closes no cash.
pub async fn learn_closed_cash(
    ledger: &Session,
    book: &str,
    calendar: &mut Calendar,
    judgements: &[Judgement],
) -> Result<bool> {
    if !calendar.closes_cash() {
        return Ok(false);
    }
    let mut wished: BTreeSet<(&str, NaiveDate)> = BTreeSet::new();
    for entry in judgements.iter().flat_map(|judgement| judgement.entries()) {
        let sites = entry.lines.as_slice().iter().filter_map(|line| line.dimensions.site.as_deref());
        wished.extend(sites.map(|site| (site, entry.posting_date)));
    }
    if wished.is_empty() {
        return Ok(false);
    }
    let (sites, days): (Vec<&str>, Vec<NaiveDate>) = wished.into_iter().unzip();
    let rows = ledger.query(sql::CLOSED_CASH, &[&book, &sites, &days]).await.doing("looking at closed days of cash")?;
    calendar.close_cash(rows.iter().map(|row| ClosedCash {
        site: row.get(0),
        first_day: row.get(1),
        last_day: row.get(2),
    }));
    Ok(!rows.is_empty())
}
