//! Changes that bypassed the triggers: found in the WAL, posted like any other, and told.

use crate::capture::Found;
use crate::database::{Parameters, Session};
use crate::error::{Doing, Result};
use crate::judgement::Judgement;
use crate::ledger::{Scope, State, Status};
use crate::sql;

/// A change that bypassed the triggers, and what was posted of it.
pub(crate) struct Gap {
    pub reference_id: String,
    pub xid: String,
    pub entry_id: Option<i64>,
}

/// An event that an entry names as its cause already: after a crash between the two commits, or where workers met at a bill.
pub(crate) struct Posted<'a> {
    pub reference_id: &'a str,
    pub seq: i64,
    pub entry_id: i64,
}

/// Whether what is posted was changed past the triggers: nothing but the stream speaks of the bill, which was in order before, and the rule
/// is the same. A bill that was never judged may be from before its table was attached, unless its row is new. Pure.
pub(crate) fn bypassed_triggers(judgement: &Judgement, before: &Status, found: &Found) -> bool {
    let Judgement::Post { entries, rule_digest, .. } = judgement else { return false };
    let was_judged_alike = match before.digests.rule {
        Some(rule) => rule == *rule_digest || found.row.is_none(),
        None => found.cause.operation == "insert" && before.live_entry_ids.is_empty(),
    };
    found.is_told_by_stream_alone && !entries.is_empty() && before.state == State::Current && was_judged_alike
}

/// The gaps that a crash kept from being told, by what the journal says of the time before it.
pub(crate) async fn untold_gaps(
    source: &Session,
    ledger: &Session,
    scope: Scope<'_>,
    posted: &[Posted<'_>],
) -> Result<Vec<Gap>> {
    let Scope { book, source: name, reference_type } = scope;
    let column = |of: fn(&Posted<'_>) -> i64| posted.iter().map(of).collect::<Vec<i64>>();
    let ids: Vec<&str> = posted.iter().map(|event| event.reference_id).collect();
    let (seqs, entries) = (column(|event| event.seq), column(|event| event.entry_id));
    let parameters: Parameters<'_> = &[&reference_type, &ids, &seqs, &entries];
    let untold = match posted.is_empty() {
        true => Vec::new(),
        false => source.query(sql::UNACKNOWLEDGED_GAPS, parameters).await.doing("looking who told of a change")?,
    };
    if untold.is_empty() {
        return Ok(Vec::new());
    }
    let (ids, seqs): (Vec<&str>, Vec<i64>) =
        untold.iter().map(|row| (row.get::<_, &str>(0), row.get::<_, i64>(1))).unzip();
    let parameters: Parameters<'_> = &[&book, &name, &reference_type, &ids, &seqs];
    let before = ledger.query(sql::POSTED_ALIKE, parameters).await.doing("looking at what was posted before")?;
    let gap = |row: &tokio_postgres::Row| {
        let before = before.iter().find(|before| before.get::<_, i64>("seq") == row.get::<_, i64>("seq"))?;
        let is_new_row = before.get("is_first") && row.get::<_, &str>("operation") == "insert";
        (before.get("is_same_rule") || is_new_row).then(|| Gap {
            reference_id: row.get("reference_id"),
            xid: row.get("xid"),
            entry_id: row.get("entry_id"),
        })
    };
    Ok(untold.iter().filter_map(gap).collect())
}

/// Says which changes bypassed the triggers, with their acknowledgement. Returns what a person is to be told.
pub(crate) async fn note_gaps(
    source: &Session,
    source_name: &str,
    reference_type: &str,
    gaps: &[Gap],
) -> Result<Option<String>> {
    let Some(first) = gaps.first() else { return Ok(None) };
    let ids: Vec<&str> = gaps.iter().map(|gap| gap.reference_id.as_str()).collect();
    let xids: Vec<&str> = gaps.iter().map(|gap| gap.xid.as_str()).collect();
    let entries: Vec<Option<i64>> = gaps.iter().map(|gap| gap.entry_id).collect();
    let parameters: Parameters<'_> = &[&source_name, &reference_type, &ids, &xids, &entries];
    source.execute(sql::NOTE_GAPS, parameters).await.doing("noting changes past the triggers")?;
    Ok(Some(format!(
        "changes of {reference_type} bypassed its triggers, {} just now, such as that of {} by transaction {}: they were found in the WAL \
         and posted. Is a trigger disabled, or does somebody write with session_replication_role = replica? Which ones: kind capture_gap \
         in daybook.reconciliation_findings. Seen: SELECT daybook.resolve_alert('CAPTURE_GAP', '{reference_type}')",
        gaps.len(),
        first.reference_id,
        first.xid
    )))
}
