//! The oracle: what the ledger should hold, by plain SQL that shares nothing with the posting code, and every other promise
//! that can be seen once the queue is empty.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use daybook::address::parse_url;
use daybook::database::Side;
use daybook::options::Databases;
use daybook::reconcile::{Options, reconcile};
use tokio_postgres::Client;

use crate::dba::RELAXED;

const EXPECTED: &str = include_str!("../../sql/demo/expected_balances.sql");
const EXPECTED_ODD: &str = include_str!("sql/expected_odd_balances.sql");
const RULES_IN_FORCE: &str = include_str!("../../sql/consume/rules_in_force.sql");

/// What the oracle says.
#[derive(Default)]
pub struct Word {
    pub findings: Vec<String>,
    /// Changes that the application committed, by the witness.
    pub changes: i64,
    pub entries: i64,
}

type Balances = BTreeMap<(String, String), BTreeMap<String, String>>;

/// Waits until the queue is empty and every rule is taken up; whether that came within the time.
pub async fn drained(source: &Client, ledger: &Client, within: Duration) -> bool {
    let started = Instant::now();
    while started.elapsed() < within {
        let rules = ledger.query(RULES_IN_FORCE, &[&"main"]).await.expect("reads the rules");
        let (types, rules): (Vec<String>, Vec<String>) = rules.iter().map(|row| (row.get(0), row.get(1))).unzip();
        let is_done = "SELECT NOT EXISTS (SELECT FROM daybook.sync_queue)
                       AND NOT EXISTS (SELECT FROM daybook.sync_source AS s
                                       JOIN unnest($1::text[], $2::text[]) AS f (reference_type, rules) USING (reference_type)
                                       WHERE s.rules <> f.rules)";
        if source.query_one(is_done, &[&types, &rules]).await.expect("looks").get(0) {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
    false
}

/// An operator's last decisions: what is parked is tried again, and what is retained is let go.
pub async fn decide(source: &Client, ledger: &Client) {
    let retry =
        "SELECT daybook.retry(reference_type, reference_id) FROM daybook.sync_dead_letter WHERE resolved_at IS NULL";
    source.batch_execute(retry).await.expect("retries");
    let retained = "SELECT reference_type, reference_id FROM ledger.sync_master_status WHERE state = 'retained'";
    for row in ledger.query(retained, &[]).await.expect("looks") {
        let release = "SELECT daybook.release($1, $2)";
        source.execute(release, &[&row.get::<_, &str>(0), &row.get::<_, &str>(1)]).await.expect("releases");
    }
}

/// daybook's own proof, which must come to the same: every row, the totals, and the journal by itself with its chain.
pub async fn reconciled(source_url: &str, ledger_url: &str, is_streamed: bool) -> Option<String> {
    let databases = Databases {
        name: None,
        source: parse_url(Side::Source, source_url).expect("our own URL"),
        ledger: parse_url(Side::Ledger, ledger_url).expect("our own URL"),
        workers: 1,
        heads: Default::default(),
    };
    // What is captured from the WAL is proven only while it is streamed.
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let streaming = is_streamed.then(|| {
        tokio::spawn(daybook::consumer::run(databases.clone(), async {
            let _ = stopped.await;
        }))
    });
    let options = Options { full: true, journal: true, ..Options::default() };
    let report = reconcile(&databases, options).await;
    let _ = stop.send(());
    if let Some(streaming) = streaming {
        let _ = streaming.await;
    }
    match report {
        Ok(report) if report.outcome == "proven" => None,
        Ok(report) => Some(format!("reconciliation does not prove what the oracle finds right:\n{}", report.to_text())),
        Err(error) => Some(format!("reconciliation fails: {error}")),
    }
}

/// Compares everything. Where the queue is not empty, only what holds at any time.
pub async fn ask(source: &Client, ledger: &Client, is_drained: bool) -> Word {
    let mut word = Word {
        changes: number(source, "SELECT count(*) FROM witness.changes").await,
        entries: number(ledger, "SELECT count(*) FROM ledger.journal_entries").await,
        ..Word::default()
    };
    for (what, sql) in ALWAYS_EMPTY_ON_THE_LEDGER {
        say_rows(ledger, what, sql, &mut word.findings).await;
    }
    for (what, sql) in ALWAYS_EMPTY_ON_THE_SOURCE {
        say_rows(source, what, sql, &mut word.findings).await;
    }
    if is_drained {
        compare(source, ledger, &mut word.findings).await;
        let missing = format!(
            "{EVENTS_AND_WITNESS} WHERE reference_type <> '{RELAXED}' AND coalesce(w.n, 0) <> coalesce(a.n, 0)"
        );
        say_rows(
            source,
            "a committed change without exactly one outcome (xid, bill, changes, outcomes)",
            &missing,
            &mut word.findings,
        )
        .await;
        causes(source, ledger, &mut word.findings).await;
    }
    word
}

/// Committed changes by the witness, and finished events of the triggers, per transaction and bill.
const EVENTS_AND_WITNESS: &str =
    "SELECT concat_ws(' ', xid, reference_type, reference_id, coalesce(w.n, 0), coalesce(a.n, 0))
    FROM (SELECT xid, reference_type, reference_id, count(*) AS n FROM witness.changes GROUP BY 1, 2, 3) AS w
    FULL JOIN (SELECT xid, reference_type, reference_id, count(*) AS n FROM daybook.sync_audit_log
               WHERE origin = 'trigger' GROUP BY 1, 2, 3) AS a USING (xid, reference_type, reference_id)";

const ALWAYS_EMPTY_ON_THE_SOURCE: [(&str, &str); 3] = [
    (
        "a gap although no trigger was bypassed",
        "SELECT finding_key || ' ' || details FROM daybook.reconciliation_findings WHERE kind = 'capture_gap' AND found_by = 'capture' AND run_id = 0",
    ),
    (
        "an event with two outcomes",
        "SELECT concat_ws(' ', seq, min(reference_type), min(reference_id), string_agg(outcome, ', ')) FROM daybook.sync_audit_log
         GROUP BY seq HAVING count(*) > 1",
    ),
    (
        "a finding of the reconciliations that ran meanwhile, although nobody passed by capture",
        "SELECT concat_ws(' ', finding_key, message, details) FROM daybook.reconciliation_findings
         WHERE severity = 'critical' AND found_by IN ('bills', 'status', 'totals') AND reference_type <> 'VOUCHER'",
    ),
];

const ALWAYS_EMPTY_ON_THE_LEDGER: [(&str, &str); 6] = [
    (
        "an entry with another number of lines than it says",
        "SELECT e.id::text FROM ledger.journal_entries AS e
         WHERE e.line_count <> (SELECT count(*) FROM ledger.journal_lines AS l WHERE l.entry_id = e.id)",
    ),
    (
        "an unbalanced entry",
        "SELECT entry_id::text FROM ledger.journal_lines GROUP BY entry_id, currency HAVING sum(debit) <> sum(credit)",
    ),
    (
        "a reversal that does not take back what it reverses, line by line",
        "SELECT e.id::text FROM ledger.journal_entries AS e LEFT JOIN ledger.journal_entries AS r ON r.id = e.reverses_id
         WHERE e.kind = 'reversal' AND (r.id IS NULL OR r.kind = 'reversal' OR r.id >= e.id
            OR (r.book, r.source, r.reference_type, r.reference_id, r.effective_date, r.total)
               <> (e.book, e.source, e.reference_type, e.reference_id, e.effective_date, e.total)
            OR EXISTS (SELECT account_code, credit, debit, currency, is_settlement, site, department, party
                       FROM ledger.journal_lines WHERE entry_id = r.id
                       EXCEPT ALL SELECT account_code, debit, credit, currency, is_settlement, site, department, party
                       FROM ledger.journal_lines WHERE entry_id = e.id))",
    ),
    (
        "an entry that is reversed twice",
        "SELECT reverses_id::text FROM ledger.journal_entries WHERE reverses_id IS NOT NULL GROUP BY reverses_id HAVING count(*) > 1",
    ),
    (
        "a bill whose revisions have gaps",
        "SELECT concat_ws(' ', reference_type, reference_id) FROM ledger.journal_entries
         GROUP BY book, source, reference_type, reference_id HAVING max(revision) <> count(*) OR min(revision) <> 1",
    ),
    (
        "a bill whose status names other live entries than there are",
        "SELECT concat_ws(' ', s.reference_type, s.reference_id) FROM ledger.sync_master_status AS s
         WHERE ARRAY(SELECT unnest(live_entry_ids) ORDER BY 1)
               <> ARRAY(SELECT e.id FROM ledger.journal_entries AS e
                        WHERE (e.book, e.source, e.reference_type, e.reference_id)
                              = (s.book, s.source, s.reference_type, s.reference_id) AND e.kind <> 'reversal'
                          AND NOT EXISTS (SELECT FROM ledger.journal_entries AS r WHERE r.reverses_id = e.id)
                        ORDER BY 1)",
    ),
];

/// Every bill, by account, to the cent; and the open dead letters.
async fn compare(source: &Client, ledger: &Client, findings: &mut Vec<String>) {
    source.batch_execute(EXPECTED).await.expect("asks the bills");
    source.batch_execute(EXPECTED_ODD).await.expect("asks the odd bills");
    let expected = "SELECT reference_type, reference_id, account_code, trim_scale(balance)::text FROM
                    (SELECT * FROM expected_balances UNION ALL SELECT * FROM expected_odd_balances) AS b";
    let mut expected = balances(source, expected).await;
    let is_parked = |accounts: &BTreeMap<String, String>| accounts.contains_key("PARKED");
    let parked: BTreeSet<(String, String)> =
        expected.iter().filter(|(_, accounts)| is_parked(accounts)).map(|(bill, _)| bill.clone()).collect();
    expected.retain(|bill, _| !parked.contains(bill));
    let posted =
        "SELECT reference_type, reference_id, account_code, trim_scale(balance)::text FROM ledger.reference_balances";
    let mut posted = balances(ledger, posted).await;
    posted.retain(|bill, _| !parked.contains(bill));
    let bills: BTreeSet<&(String, String)> = expected.keys().chain(posted.keys()).collect();
    for bill in bills {
        let (says, has) = (expected.get(bill), posted.get(bill));
        if says != has {
            let life = life(source, ledger, bill).await;
            findings.push(format!("{} {}: the bill says {says:?}, the ledger has {has:?}\n{life}", bill.0, bill.1));
        }
    }
    let letters =
        "SELECT reference_type, reference_id, 'PARKED', reason FROM daybook.sync_dead_letter WHERE resolved_at IS NULL";
    let letters = balances(source, letters).await;
    for bill in &parked {
        if !letters.contains_key(bill) {
            let life = life(source, ledger, bill).await;
            findings.push(format!("{} {}: cannot be posted, and has no open dead letter\n{life}", bill.0, bill.1));
        }
    }
    for (bill, reason) in letters.iter().filter(|(bill, _)| !parked.contains(bill)) {
        let life = life(source, ledger, bill).await;
        findings.push(format!("{} {}: can be posted, and is parked: {reason:?}\n{life}", bill.0, bill.1));
    }
}

/// Each entry names an event that ended, of its own bill and in the transaction that the entry names.
async fn causes(source: &Client, ledger: &Client, findings: &mut Vec<String>) {
    let told = "SELECT seq, concat_ws(' ', reference_type, reference_id, xid) FROM daybook.sync_audit_log WHERE reference_id IS NOT NULL";
    let told: BTreeMap<i64, String> =
        source.query(told, &[]).await.expect("reads").iter().map(|row| (row.get(0), row.get(1))).collect();
    let entries =
        "SELECT event_seq, concat_ws(' ', reference_type, reference_id, event_xid), id FROM ledger.journal_entries";
    for row in ledger.query(entries, &[]).await.expect("reads") {
        let (seq, named): (i64, String) = (row.get(0), row.get(1));
        if told.get(&seq) != Some(&named) {
            let id: i64 = row.get(2);
            findings.push(format!(
                "entry {id} names event {seq} of {named} as its cause, and that event is {:?}",
                told.get(&seq)
            ));
        }
    }
}

/// What is left in the queue, and what the alerts say.
pub async fn what_is_left(source: &Client) -> String {
    let queue = "SELECT concat_ws(' ', seq, reference_type, reference_id, operation, origin, 'due', due_at - now(), 'attempts', attempts, last_error)
                 FROM daybook.sync_queue ORDER BY seq LIMIT 30";
    let alerts = "SELECT concat_ws(' ', alert_type, cause, message) FROM daybook.current_alerts";
    format!("{}\nalerts:\n{}", lines(source, queue).await, lines(source, alerts).await)
}

/// The life of a bill, from the application's writes to the entries.
async fn life(source: &Client, ledger: &Client, (reference_type, reference_id): &(String, String)) -> String {
    let of = |table: &str, columns: &str, order: &str| {
        let bill = [reference_type, reference_id].map(|text| daybook::database::quote_literal(text));
        format!(
            "SELECT concat_ws(' ', {columns}) FROM {table} WHERE (reference_type, reference_id) = ({}, {}) ORDER BY {order}",
            bill[0], bill[1]
        )
    };
    let changes = of("witness.changes", "to_char(at, 'MI:SS.MS'), what, 'xid', xid", "number");
    let audit = of(
        "daybook.sync_audit_log",
        "to_char(enqueued_at, 'MI:SS.MS'), seq, operation, origin, outcome, entry_id, 'xid', xid, 'finished', to_char(finished_at, 'MI:SS.MS')",
        "seq",
    );
    let queue = of("daybook.sync_queue", "seq, operation, origin, 'xid', xid, 'attempts', attempts, last_error", "seq");
    let letters = of("daybook.sync_dead_letter", "parked_at, reason, resolution", "1");
    let status =
        of("ledger.sync_master_status", "state, 'revision', revision, 'last event', last_event_seq, reason", "1");
    let entries = of(
        "ledger.journal_entries AS e",
        "to_char(posted_at, 'MI:SS.MS'), id, kind, 'reverses', reverses_id, 'event', event_seq, 'xid', event_xid,
         (SELECT string_agg(account_code || ' ' || debit - credit, ', ' ORDER BY line_no) FROM ledger.journal_lines WHERE entry_id = e.id)",
        "id",
    );
    format!(
        "  changes:\n{}\n  finished events:\n{}\n  queue:\n{}\n  dead letters:\n{}\n  status:\n{}\n  entries:\n{}",
        lines(source, &changes).await,
        lines(source, &audit).await,
        lines(source, &queue).await,
        lines(source, &letters).await,
        lines(ledger, &status).await,
        lines(ledger, &entries).await,
    )
}

async fn say_rows(client: &Client, what: &str, sql: &str, findings: &mut Vec<String>) {
    let rows = client.query(sql, &[]).await.unwrap_or_else(|error| panic!("{what}: {error:?}"));
    if !rows.is_empty() {
        let rows = rows.iter().take(10).map(|row| format!("  {}", row.get::<_, &str>(0)));
        findings.push(format!("{what}:\n{}", rows.collect::<Vec<_>>().join("\n")));
    }
}

async fn lines(client: &Client, sql: &str) -> String {
    let rows = client.query(sql, &[]).await.unwrap_or_else(|error| panic!("{error:?}\n{sql}"));
    let rows = rows.iter().map(|row| format!("    {}", row.get::<_, &str>(0)));
    rows.collect::<Vec<_>>().join("\n")
}

async fn balances(client: &Client, sql: &str) -> Balances {
    let mut balances = Balances::new();
    for row in client.query(sql, &[]).await.expect("reads balances") {
        let accounts = balances.entry((row.get(0), row.get(1))).or_default();
        accounts.insert(row.get(2), row.get::<_, Option<String>>(3).unwrap_or_default());
    }
    balances
}

async fn number(client: &Client, sql: &str) -> i64 {
    client.query_one(sql, &[]).await.expect("counts").get(0)
}
