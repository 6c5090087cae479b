//! A disk that is full: a small one, mounted for the test, where that is allowed.

use std::io::Write;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::faults::until;
use crate::harness::{Clinic, Cluster, refused};

/// A file system in memory, unmounted with the test.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None` where nobody lets us mount one.
    fn mount(owned_like: &std::path::Path) -> Option<SmallDisk> {
        let path = std::env::temp_dir().join(format!("daybook-test-disk-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("makes a directory");
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=12m", "tmpfs"]).arg(&path).output();
        if !mount.is_ok_and(|output| output.status.success()) {
            let _ = std::fs::remove_dir(&path);
            return None;
        }
        let owner = std::fs::metadata(owned_like).expect("is there");
        chown(&path, Some(owner.uid()), Some(owner.gid())).expect("gives it to the server");
        Some(SmallDisk(path))
    }

    fn fill(&self) {
        let mut file = std::fs::File::create(self.0.join("filler")).expect("creates");
        while file.write_all(&[0; 4096]).is_ok() {}
    }

    fn make_room(&self) {
        std::fs::remove_file(self.0.join("filler")).expect("removes");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).output();
        let _ = std::fs::remove_dir(&self.0);
    }
}

/// In the ledger it blames no bill, in the queue it fails the application's write: what could not be captured must not be.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_waited_for_in_the_ledger_and_swallows_no_change_in_the_queue() {
    let cluster = Cluster::start();
    let clinic = Clinic::with_both_on(&cluster).await;
    let Some(disk) = SmallDisk::mount(&cluster.server.directory().join("data")) else {
        eprintln!("not tried: nobody lets us mount a small disk here");
        return;
    };
    clinic.configure("table_retry_seconds", "0.2").await;
    let tablespace = format!("CREATE TABLESPACE small LOCATION '{}'", disk.0.display());
    clinic.dba.batch_execute(&tablespace).await.expect("uses the disk");
    clinic
        .dba
        .batch_execute("ALTER TABLE ledger.journal_lines SET TABLESPACE small")
        .await
        .expect("moves the journal's lines");
    let bills = "INSERT INTO lab_bills (amount, invoice_number) SELECT g, 'A' FROM generate_series(1, 600) AS g";
    clinic.write(bills).await;
    clinic.drain().await;
    disk.fill();
    clinic.write(bills).await;
    assert_eq!(clinic.drain_for(Duration::from_secs(1)).await.unfinished, 600);
    assert_eq!(clinic.text("SELECT max(attempts) FROM daybook.sync_queue").await, "0");
    disk.make_room();
    assert_eq!(clinic.drain().await.parked, 0);
    clinic.assert_ledger_equals_bills().await;

    clinic.dba.batch_execute("ALTER TABLE daybook.sync_queue SET TABLESPACE small").await.expect("moves the queue");
    disk.fill();
    let many = bills.replace("600", "5000");
    assert!(refused(&clinic.desk, &many).await.contains("No space left on device"));
    disk.make_room();
    until(&clinic.dba, "SELECT count(*) FROM lab_bills", "1200").await;
    clinic.write(&many).await;
    clinic.drain().await;
    clinic.assert_ledger_equals_bills().await;
}
