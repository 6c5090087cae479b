//! A private, throw-away PostgreSQL server for the demo and the tests.
//!
//! It listens on a socket in a directory of its own and on nothing else. A small shell, the keeper, owns it: the keeper
//! reads from a pipe that this process holds open, and on which it may ask for the server to be stopped or started again.
//! Whatever ends this process, `kill -9` included, closes the pipe; the keeper then stops the server and removes the
//! directory. A directory whose keeper was killed too is swept by the next start.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::unistd::{Uid, User, geteuid};

use crate::error::{Error, Result};

const DIRECTORY_PREFIX: &str = "daybook-pg-";

/// The keeper. Arguments: directory of the server's programs, private directory, settings of the server. It reads one command a
/// line, and does each to its end before the next. Its words for the server are signals: QUIT is an immediate shutdown, which
/// writes nothing more, and INT a fast one.
const KEEPER: &str = r#"
bin=$1 dir=$2; shift 2
echo $$ > "$dir/keeper.pid"
server=
end() {
    [ -n "$server" ] || return 0
    # The shell starts it deaf to SIGQUIT and SIGINT; it listens once it has written its lock file.
    tries=0
    until [ -s "$dir/data/postmaster.pid" ] || [ $tries -ge 100 ]; do tries=$((tries + 1)); sleep 0.1; done
    kill "-$1" "$server"; wait "$server"
    server=
}
finish() {
    trap '' EXIT TERM INT HUP
    end QUIT
    cd /; rm -rf "$dir"
}
trap finish EXIT
trap exit TERM INT HUP
cd "$dir"
"$bin/initdb" --pgdata=data --username=postgres --auth=trust --encoding=UTF8 --locale=C --no-sync > server.log 2>&1 \
    || { cp server.log "$dir.log"; exit 1; }
start() { "$bin/postgres" -D data -k "$dir" -c listen_addresses= "$@" >> server.log 2>&1 & server=$!; }
start "$@"
while read -r command; do
    case $command in
        crash) end QUIT ;;
        stop) end INT ;;
        # A promotion that a crash has cut short is still to be ended.
        start) end QUIT; rm -f data/standby.signal; start "$@" -c restore_command=false ;;
        start_read_only) end QUIT; : > data/standby.signal; start "$@" ;;
        # A recovery from an archive that holds nothing ends by beginning a timeline of its own, as a promotion does.
        start_promoted) end QUIT; : > data/recovery.signal; start "$@" -c restore_command=false ;;
    esac
done
"#;

/// A running server. Dropping it stops it and removes its directory.
pub struct PrivateServer {
    keeper: Child,
    directory: PathBuf,
    port: u16,
}

impl PrivateServer {
    /// Starts a server with these settings (`name=value`), and waits until it accepts connections.
    pub fn start(settings: &[&str]) -> Result<PrivateServer> {
        let bin = find_programs()?;
        let owner = server_user()?;
        let base = base_directory();
        sweep(&base, owner.as_ref());
        let nanos = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map(|now| now.subsec_nanos());
        let directory = base.join(format!("{DIRECTORY_PREFIX}{}-{}", std::process::id(), nanos.unwrap_or_default()));
        let io = |doing: String| move |source| Error::Io { doing, source };
        fs::create_dir(&directory).map_err(io(format!("making {}", directory.display())))?;
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o700))
            .map_err(io(format!("protecting {}", directory.display())))?;

        // Of the socket, too, which is the only one unless a setting names addresses to listen on.
        let port = settings.iter().find_map(|setting| setting.strip_prefix("port=")?.parse().ok()).unwrap_or(5432);
        let mut command = Command::new("sh");
        command.arg("-c").arg(KEEPER).arg("daybook-keeper").arg(&bin).arg(&directory);
        for setting in settings {
            command.arg("-c").arg(setting);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).env("LC_ALL", "C").current_dir("/");
        command.process_group(0); // Ctrl-C in the terminal is for daybook alone
        if let Some(user) = &owner {
            chown(&directory, Some(user.uid.as_raw()), Some(user.gid.as_raw())).map_err(io(format!(
                "giving {} to {}",
                directory.display(),
                user.name
            )))?;
            command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
        }
        let keeper = command.spawn().map_err(io("starting sh".into()))?;
        let mut server = PrivateServer { keeper, directory, port };
        server.wait_until_ready()?;
        Ok(server)
    }

    /// Where the socket and the data directory are.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// A connection string for a database of this server.
    pub fn url(&self, user: &str, database: &str) -> String {
        format!("host={} port={} user={user} dbname={database}", self.directory.display(), self.port)
    }

    /// Ends the server at once, as a crash would: what was not written to its files yet is lost, commits that were not flushed
    /// among it. Returns when it has ended.
    pub fn crash(&mut self) -> Result<()> {
        self.command("crash")?;
        self.wait_until_gone()
    }

    /// Ends the server in order: sessions are ended, and everything is written. Returns when it has ended.
    pub fn stop(&mut self) -> Result<()> {
        self.command("stop")?;
        self.wait_until_gone()
    }

    /// Starts the server again after `crash` or `stop`, and waits until it accepts connections. After `start_read_only` and `stop` it
    /// is writable again, on the timeline that it was on: it was never promoted.
    pub fn start_again(&mut self) -> Result<()> {
        self.command("start")?;
        self.wait_until_back()
    }

    /// Starts the server again as a hot standby of nobody: everything can be read, and nothing written.
    pub fn start_read_only(&mut self) -> Result<()> {
        self.command("start_read_only")?;
        self.wait_until_back()
    }

    /// Starts the server again as a standby that took over.
    pub fn start_promoted(&mut self) -> Result<()> {
        self.command("start_promoted")?;
        self.wait_until_back()?;
        // It is read-only for a moment: nobody is to end it before it has taken over.
        self.wait_for("take over", |server| {
            let log = fs::read_to_string(server.directory.join("server.log")).unwrap_or_default();
            log.rfind("ready to accept connections") > log.rfind("starting PostgreSQL")
        })
    }

    /// The last lines of the server's log.
    pub fn log_tail(&self, lines_max: usize) -> String {
        last_lines(&fs::read_to_string(self.directory.join("server.log")).unwrap_or_default(), lines_max, "\n")
    }

    fn command(&mut self, command: &str) -> Result<()> {
        let Some(pipe) = &mut self.keeper.stdin else {
            return Err(Error::Unexpected("the keeper of the private server has no pipe".into()));
        };
        let told = pipe.write_all(format!("{command}\n").as_bytes());
        told.map_err(|source| Error::Io { doing: "telling the keeper of the private server".into(), source })
    }

    fn is_ready(&self) -> bool {
        // The last line of postmaster.pid says "ready" once connections are accepted.
        let state = fs::read_to_string(self.directory.join("data/postmaster.pid")).unwrap_or_default();
        self.directory.join(format!(".s.PGSQL.{}", self.port)).exists()
            && state.lines().nth(7).is_some_and(|line| line.trim() == "ready")
    }

    fn wait_until_gone(&mut self) -> Result<()> {
        let lock = self.directory.join("data/postmaster.pid");
        self.wait_for("end", move |_| !lock.exists())
    }

    fn wait_until_back(&mut self) -> Result<()> {
        self.wait_for("start again", |server| server.is_ready())
    }

    /// Its log tells nothing of failures: it is full of those of the clients that were cut off.
    fn wait_for(&mut self, what: &str, mut is_reached: impl FnMut(&Self) -> bool) -> Result<()> {
        let started = Instant::now();
        while !is_reached(self) {
            if self.keeper.try_wait().ok().flatten().is_some() || started.elapsed() > Duration::from_secs(60) {
                let tail = last_lines(&self.log_tail(3), 3, " ");
                return Err(Error::Unreachable(format!("the private PostgreSQL server does not {what}: {tail}")));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let started = Instant::now();
        loop {
            if self.is_ready() {
                return Ok(());
            }
            let log = fs::read_to_string(self.directory.join("server.log")).unwrap_or_default();
            let failed = log.contains("FATAL:") || self.keeper.try_wait().ok().flatten().is_some();
            if failed || started.elapsed() > Duration::from_secs(60) {
                let kept = PathBuf::from(format!("{}.log", self.directory.display()));
                let log = fs::read_to_string(&kept)
                    .or_else(|_| fs::read_to_string(self.directory.join("server.log")))
                    .unwrap_or_default();
                let _ = fs::remove_file(kept);
                let last = last_lines(&log, 3, " ");
                return Err(Error::Unreachable(format!("the private PostgreSQL server does not start: {last}")));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for PrivateServer {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

fn last_lines(text: &str, lines_max: usize, separator: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(lines_max)..].join(separator)
}

/// Finds the directory of `initdb` and `postgres`: $PG_BIN, pg_config, $PATH, then the highest major that Debian keeps.
fn find_programs() -> Result<PathBuf> {
    let complete = |bin: &PathBuf| bin.join("initdb").is_file() && bin.join("postgres").is_file();
    if let Some(bin) = std::env::var_os("PG_BIN").map(PathBuf::from) {
        return if complete(&bin) {
            Ok(bin)
        } else {
            Err(Error::Usage(format!("PG_BIN is {}, which holds no initdb and postgres", bin.display())))
        };
    }
    let from_pg_config = Command::new("pg_config").arg("--bindir").output().ok();
    let from_pg_config =
        from_pg_config.map(|output| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim().to_string()));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut majors: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .collect();
    majors.sort_by_key(|(major, _)| std::cmp::Reverse(*major));
    from_pg_config
        .into_iter()
        .chain(std::env::split_paths(&path))
        .chain(majors.into_iter().map(|(_, bin)| bin))
        .find(complete)
        .ok_or_else(|| {
            Error::Unreachable(
                "PostgreSQL's server programs initdb and postgres are not on this machine: install them (Debian: apt-get \
                 install postgresql), or set PG_BIN to their directory"
                    .into(),
            )
        })
}

/// PostgreSQL refuses to run as root, so root hands the server to another user.
fn server_user() -> Result<Option<User>> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    let user = ["postgres", "nobody"].iter().find_map(|name| User::from_name(name).ok().flatten());
    user.map(Some).ok_or_else(|| {
        Error::Unreachable("PostgreSQL refuses to run as root, and there is neither a user postgres nor nobody".into())
    })
}

/// A directory with a short name: the path of a socket has 107 bytes at most.
fn base_directory() -> PathBuf {
    let wished = std::env::temp_dir();
    if wished.as_os_str().len() <= 40 { wished } else { PathBuf::from("/tmp") }
}

/// Removes what servers left behind whose keepers were killed.
fn sweep(base: &Path, owner: Option<&User>) {
    let uid = owner.map_or_else(geteuid, |user| user.uid);
    for entry in fs::read_dir(base).into_iter().flatten().flatten() {
        let directory = entry.path();
        let is_ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(DIRECTORY_PREFIX));
        let is_theirs =
            fs::symlink_metadata(&directory).map_or(true, |meta| !meta.is_dir() || Uid::from_raw(meta.uid()) != uid);
        if !is_ours || is_theirs {
            continue;
        }
        let pid_in = |file: &str| -> Option<u32> {
            fs::read_to_string(directory.join(file)).ok()?.lines().next()?.trim().parse().ok()
        };
        let alive = |pid: u32| Path::new(&format!("/proc/{pid}")).exists();
        match pid_in("keeper.pid") {
            Some(keeper) if !alive(keeper) => {}
            _ => continue, // it runs, or is about to
        }
        if let Some(postmaster) = pid_in("data/postmaster.pid")
            && fs::read_link(format!("/proc/{postmaster}/cwd")).is_ok_and(|cwd| cwd == directory.join("data"))
        {
            let _ = Command::new("kill").arg("-QUIT").arg(postmaster.to_string()).status();
            std::thread::sleep(Duration::from_millis(500));
        }
        let _ = fs::remove_dir_all(&directory);
    }
}
