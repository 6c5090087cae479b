//! What a look at one bill says: whether the ledger agrees with its row; and if not, how it differs. Pure: the judgement is that of the
//! posting function, which would post exactly the difference.

use std::collections::BTreeMap;

use rust_decimal::Decimal;

use super::findings::{Finding, Kind};
use crate::capture::Found;
use crate::judgement::{Grounds, Judgement};
use crate::ledger::{Digests, State, Status};
use crate::posting::entries::LiveEntry;
use crate::posting::lines::Line;

/// What a look came to.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// The ledger agrees with the row. `refresh`: what its status should say it was judged from.
    Equal { refresh: Option<Digests> },
    /// It is parked or retained, and rightly so.
    Excused,
    /// The ledger does not say what the row says, and nothing is on its way.
    Differs(Box<Finding>),
}

/// Amounts by account, and what else is told of a bill.
#[derive(Debug, Default)]
struct Side {
    accounts: BTreeMap<String, Decimal>,
}

impl Side {
    fn of<'a>(lines: impl Iterator<Item = &'a Line>) -> Side {
        let mut accounts: BTreeMap<String, Decimal> = BTreeMap::new();
        for line in lines {
            *accounts.entry(line.account.clone()).or_default() += line.amount;
        }
        accounts.retain(|_, amount| !amount.is_zero());
        Side { accounts }
    }

    /// Amounts as texts.
    fn to_json(&self) -> serde_json::Value {
        let text = |amount: &Decimal| serde_json::Value::String(amount.to_string());
        serde_json::Value::Object(
            self.accounts.iter().map(|(account, amount)| (account.clone(), text(amount))).collect(),
        )
    }
}

/// Compares what the posting function says of a bill with its status and live entries, none of which was on its way.
pub fn verdict(
    reference_type: &str,
    judgement: &Judgement,
    status: &Status,
    live: &[LiveEntry],
    found: &Found,
) -> Verdict {
    let bill = &status.reference_id;
    let differs = |kind: Kind, message: String, wanted: &Side| {
        let details = serde_json::json!({
            "bill": wanted.to_json(),
            "ledger": Side::of(live.iter().flat_map(|entry| entry.lines.as_slice())).to_json(),
        });
        let entry_id = live.last().map(|entry| entry.id);
        Verdict::Differs(Box::new(Finding {
            entry_id,
            details,
            ..Finding::of_bill(kind, reference_type, bill, message)
        }))
    };
    let told = |why: &str| format!("{reference_type} {bill}: {why}");
    match judgement {
        Judgement::Park(_) if matches!(status.state, State::Parked | State::Resolved) => Verdict::Excused,
        Judgement::Park(parked) => {
            let why = told(&format!("its row cannot be posted, and nothing told so: {}", parked.reason));
            differs(Kind::Stale, why, &Side::default())
        }
        Judgement::Retain(because) if status.retained_because == Some(*because) => Verdict::Excused,
        Judgement::Retain(_) => {
            differs(Kind::Orphan, told("its row is gone, and nothing told so; its entries stay"), &Side::default())
        }
        Judgement::Post { entries, rule_digest, fingerprint, grounds, .. } if entries.is_empty() => {
            if status.state != State::Current {
                let why = told("is parked or retained in the ledger, although its row can be posted");
                return differs(Kind::Stale, why, &Side::default());
            }
            let row = found.row_digest.filter(|_| *grounds != Grounds::OutOfScope);
            let digests = Digests { row, rule: Some(*rule_digest), fingerprint: *fingerprint };
            Verdict::Equal { refresh: Some(digests).filter(|digests| *digests != status.digests) }
        }
        Judgement::Post { entries, .. } => {
            let posted = entries.iter().flat_map(|entry| entry.lines.as_slice());
            let wanted = Side::of(live.iter().flat_map(|entry| entry.lines.as_slice()).chain(posted));
            let has = Side::of(live.iter().flat_map(|entry| entry.lines.as_slice()));
            let last = entries.last();
            let (kind, why) = match () {
                () if live.is_empty() => (Kind::Missing, "has no entries in the ledger"),
                () if found.row.is_none() => (Kind::Orphan, "has entries, and its row is gone"),
                () if wanted.accounts.is_empty() => (Kind::Stale, "has entries, although its row asks for none"),
                () if status.digests.row.is_some() && status.digests.row != found.row_digest => {
                    (Kind::Stale, "its row was changed, and the ledger does not know")
                }
                () if !wanted.accounts.keys().eq(has.accounts.keys()) => {
                    (Kind::WrongAccount, "is in the ledger by other accounts than its row and rule say")
                }
                () if wanted.accounts != has.accounts => {
                    (Kind::WrongAmount, "is in the ledger with other amounts than its row says")
                }
                () if last.map(|entry| entry.effective_date) != live.first().map(|base| base.effective_date) => {
                    (Kind::WrongDate, "is in the ledger under another date than its row says")
                }
                () => {
                    (Kind::WrongDimension, "is in the ledger under another site, department or party than its row says")
                }
            };
            differs(kind, told(why), &wanted)
        }
    }
}
