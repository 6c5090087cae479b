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

/// A bill of which the stream alone speaks, and whose event was posted before a crash came between the two commits.
pub(crate) struct Repeated<'a> {
    pub reference_id: &'a str,
    pub found: &'a Found,
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

/// The gaps among bills that were posted before a crash, by what the journal says of the time before it. A bill that was parked then says
/// so in its dead letter, which the crash left open.
pub(crate) async fn repeated_gaps(
    source: &Session,
    ledger: &Session,
    scope: Scope<'_>,
    repeated: &[Repeated<'_>],
) -> Result<Vec<Gap>> {
    if repeated.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<&str> = repeated.iter().map(|bill| bill.reference_id).collect();
    let seqs: Vec<i64> = repeated.iter().map(|bill| bill.found.cause.seq).collect();
    let parked = "SELECT reference_id FROM daybook.sync_dead_letter
                  WHERE reference_type = $1 AND reference_id = ANY ($2) AND resolved_at IS NULL";
    let parked = source.query(parked, &[&scope.reference_type, &ids]).await.doing("looking at dead letters")?;
    let parked: Vec<&str> = parked.iter().map(|row| row.get(0)).collect();
    let Scope { book, source: name, reference_type } = scope;
    let parameters: Parameters<'_> = &[&book, &name, &reference_type, &ids, &seqs];
    let rows = ledger.query(sql::POSTED_ALIKE, parameters).await.doing("looking at what was posted before")?;
    let gap = |row: &tokio_postgres::Row| {
        let reference_id: &str = row.get("reference_id");
        let cause = &repeated.iter().find(|bill| bill.reference_id == reference_id)?.found.cause;
        let was_judged_alike =
            row.get("is_same_rule") || (row.get::<_, bool>("is_first") && cause.operation == "insert");
        (was_judged_alike && !parked.contains(&reference_id)).then(|| Gap {
            reference_id: reference_id.into(),
            xid: cause.xid.clone(),
            entry_id: row.get("entry_id"),
        })
    };
    Ok(rows.iter().filter_map(gap).collect())
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
