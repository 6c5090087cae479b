//! The private server does what the simulator takes it for: a crash loses what was not flushed, and a standby of nobody is
//! read-only and comes back as the server that it was.

use daybook::private_server::PrivateServer;

use crate::application::connect;

#[tokio::test]
async fn a_crash_loses_what_was_not_flushed_and_a_read_only_server_comes_back_on_its_timeline() {
    let settings = ["fsync=off", "wal_writer_delay=10s", "autovacuum=off"];
    let mut server = PrivateServer::start(&settings).expect("starts");
    let url = server.url("postgres", "postgres");
    let client = connect(&url).await.expect("connects");
    client.batch_execute("CREATE TABLE t (n integer)").await.expect("creates");
    // Until the commit lies at the beginning of a page of the log, which nothing completes.
    let lazy = "SET synchronous_commit = off; INSERT INTO t VALUES (1)";
    let position = "SELECT (pg_current_wal_insert_lsn() - '0/0') % 8192 BETWEEN 200 AND 4000
                    AND pg_current_wal_insert_lsn() > pg_current_wal_flush_lsn()";
    client.batch_execute(lazy).await.expect("writes");
    while !client.query_one(position, &[]).await.expect("looks").get::<_, bool>(0) {
        client.batch_execute(lazy).await.expect("writes");
    }
    let before: i64 = client.query_one("SELECT count(*) FROM t", &[]).await.expect("counts").get(0);
    server.crash().expect("ends");
    server.start_again().expect("comes back");
    let client = connect(&url).await.expect("connects");
    let after: i64 = client.query_one("SELECT count(*) FROM t", &[]).await.expect("counts").get(0);
    assert!(after < before, "{before} rows were seen, and {after} are left");

    let timeline = "SELECT timeline_id FROM pg_control_checkpoint()";
    let timeline_before: i32 = client.query_one(timeline, &[]).await.expect("looks").get(0);
    server.stop().expect("ends");
    server.start_read_only().expect("comes back");
    let client = connect(&url).await.expect("connects");
    let refused = client.batch_execute("INSERT INTO t VALUES (2)").await.expect_err("is read-only");
    assert_eq!(refused.code().map(|state| state.code()), Some("25006"));
    server.stop().expect("ends");
    server.start_again().expect("comes back");
    let client = connect(&url).await.expect("connects");
    client.batch_execute("INSERT INTO t VALUES (2)").await.expect("writes again");
    assert_eq!(client.query_one(timeline, &[]).await.expect("looks").get::<_, i32>(0), timeline_before);
}
