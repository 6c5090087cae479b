//! The owner of a bill table may do with it what they like: what keeps changes from us is told, and none of their code runs with
//! our rights.

use std::time::Duration;

use tokio::sync::oneshot;

use crate::harness::Clinic;

const OWN: &str = "GRANT CREATE ON SCHEMA public TO desk; ALTER TABLE lab_bills OWNER TO desk; ALTER TABLE pharmacy_bills OWNER TO desk";

/// A clinic whose application owns its tables.
async fn owned() -> Clinic {
    let clinic = Clinic::new().await;
    clinic.dba.batch_execute(OWN).await.expect("changes the owner");
    clinic.configure("table_retry_seconds", "0.1").await;
    clinic
}

#[tokio::test]
async fn an_owner_who_takes_our_triggers_away_or_puts_namesakes_in_their_place_is_told_of() {
    let clinic = owned().await;
    clinic.write("CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'").await;
    let incomplete = "SELECT string_agg(alert_type, ',') FROM daybook.current_alerts WHERE cause = 'LAB'";
    assert_eq!(clinic.text(incomplete).await, "");
    for (trick, alert) in [
        ("ALTER TABLE lab_bills DISABLE TRIGGER daybook_capture", "CAPTURE_INCOMPLETE"),
        ("ALTER TABLE lab_bills DISABLE TRIGGER ALL", "CAPTURE_INCOMPLETE"),
        ("ALTER TABLE lab_bills ENABLE REPLICA TRIGGER daybook_capture", "CAPTURE_INCOMPLETE"),
        ("DROP TRIGGER daybook_capture ON lab_bills", "CAPTURE_INCOMPLETE"),
        ("ALTER TRIGGER daybook_capture ON lab_bills RENAME TO other", "CAPTURE_INCOMPLETE"),
        (
            "DROP TRIGGER daybook_capture ON lab_bills;
             CREATE TRIGGER daybook_capture AFTER INSERT OR UPDATE OR DELETE ON lab_bills FOR EACH ROW EXECUTE FUNCTION nothing();
             ALTER TABLE lab_bills ENABLE ALWAYS TRIGGER daybook_capture",
            "CAPTURE_INCOMPLETE",
        ),
        (
            "DROP TRIGGER daybook_capture_truncate ON lab_bills;
             CREATE TRIGGER daybook_capture_truncate AFTER TRUNCATE ON lab_bills EXECUTE FUNCTION nothing();
             ALTER TABLE lab_bills ENABLE ALWAYS TRIGGER daybook_capture_truncate",
            "TRUNCATE_NOT_CAPTURED",
        ),
    ] {
        clinic.write("BEGIN").await;
        clinic.write(trick).await;
        let seen = clinic.desk.batch_execute("COMMIT").await;
        seen.expect("an owner may");
        assert_eq!(clinic.text(incomplete).await, alert, "{trick}");
        let drop = "DROP TRIGGER IF EXISTS daybook_capture ON lab_bills; DROP TRIGGER IF EXISTS other ON lab_bills;
                    DROP TRIGGER IF EXISTS daybook_capture_truncate ON lab_bills";
        clinic.dba.batch_execute(drop).await.expect("cleans up");
        clinic.dba.batch_execute(crate::harness::TRIGGERS[2]).await.expect("attaches again");
        assert_eq!(clinic.text(incomplete).await, "", "{trick}");
    }
}

/// Runs a consumer until its tables are known to it; then what the owner does; and tells whether the owner's code was run.
async fn ran_as(clinic: &Clinic, trick: &str) -> String {
    let tripwire = "CREATE SEQUENCE IF NOT EXISTS tripped; GRANT ALL ON SEQUENCE tripped TO PUBLIC;
        CREATE OR REPLACE FUNCTION trip(anyelement) RETURNS anyelement LANGUAGE plpgsql IMMUTABLE AS
            $$BEGIN IF current_user <> 'desk' THEN PERFORM nextval('public.tripped'); END IF; RETURN $1; END$$";
    clinic.write(tripwire).await;
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(daybook::consumer::run(clinic.options(1), async {
        let _ = stopped.await;
    }));
    let finished = async |at_least: i64| {
        let enough = format!(
            "SELECT (SELECT count(*) FROM daybook.sync_audit_log) >= {at_least}
                 OR EXISTS (SELECT FROM daybook.sync_queue WHERE last_error IS NOT NULL) OR EXISTS (SELECT FROM daybook.sync_alerts)"
        );
        while clinic.text(&enough).await != "true" {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    clinic.write("INSERT INTO lab_bills (id, amount, invoice_number) VALUES (1, 10, 'A')").await;
    finished(1).await;
    clinic.write(trick).await;
    finished(2).await;
    let _ = stop.send(());
    running.await.expect("ends").expect("runs");
    clinic.text("SELECT is_called FROM public.tripped").await
}

/// The name that the consumer has prepared for is another relation's by now, and a view's functions run with the reader's rights.
#[tokio::test]
async fn a_view_that_takes_the_place_of_a_bill_table_is_not_read() {
    let clinic = owned().await;
    let trick = "BEGIN; UPDATE lab_bills SET amount = 11; ALTER TABLE lab_bills RENAME TO truth;
                 CREATE VIEW lab_bills AS SELECT id, visit_id, trip(9999::numeric) AS amount, paid, discounted_amount, payment_mode, invoice_number,
                     created_at FROM truth WHERE trip(true);
                 GRANT SELECT ON lab_bills TO PUBLIC; COMMIT";
    assert_eq!(ran_as(&clinic, trick).await, "false", "the view was not read");
    clinic.drain().await;
    assert_eq!(
        clinic.balances("LAB", "1").await,
        "1000 11.00, 4200 -11.00",
        "the table is followed under its new name"
    );
}

/// PostgreSQL folds what is constant in an index when somebody plans a query of the table, with the rights of whoever asks.
#[tokio::test]
async fn an_index_that_calls_the_applications_code_keeps_its_table_from_being_read() {
    let clinic = owned().await;
    let trick =
        "BEGIN; CREATE INDEX evil ON lab_bills ((amount + trip(1::numeric))); UPDATE lab_bills SET amount = 11; COMMIT";
    assert_eq!(ran_as(&clinic, trick).await, "false", "the index's function was not run");
    assert_eq!(clinic.drain_for(Duration::from_secs(1)).await.unfinished, 1, "its events wait");
    let mut alert = String::new();
    while alert.is_empty() {
        clinic.drain_for(Duration::from_secs(1)).await;
        alert = clinic.text("SELECT message FROM daybook.current_alerts WHERE cause = 'LAB'").await;
    }
    assert!(alert.contains("FUNCTION public.trip(anyelement)") && alert.contains("OWNER TO"), "{alert}");
    clinic.write("INSERT INTO pharmacy_bills (id, total_amount, invoice_number) VALUES (1, 10, 'A')").await;
    while clinic.balances("PHARMACY", "1").await != "1000 10.00, 4100 -10.00" {
        assert!(clinic.drain_for(Duration::from_secs(1)).await.unfinished > 0, "other tables go on");
    }
    // Once a superuser has looked at it, and vouches for it, it goes on.
    clinic.dba.batch_execute("ALTER FUNCTION trip(anyelement) OWNER TO CURRENT_USER").await.expect("vouches");
    clinic.drain().await;
    assert_eq!(clinic.balances("LAB", "1").await, "1000 11.00, 4200 -11.00");
}
