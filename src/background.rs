//! Computing that gives way to everybody: the system runs it where a processor has nothing else to do, so that an application on the same
//! machine finds one as if nothing were computed here.

use thread_priority::{NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy};
use thread_priority::{set_thread_priority_and_policy, thread_native_id};
use tokio::sync::oneshot;

use crate::error::{Error, Result};

/// Computes on a thread of its own, which may wait for long where others keep all processors busy: nobody else may wait for what it holds,
/// such as a lock in a database.
pub async fn compute<T: Send + 'static>(computing: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let (tell, told) = oneshot::channel();
    let thread = std::thread::Builder::new().name("background".into()).spawn(move || {
        give_way();
        let _ = tell.send(computing()); // nobody waits any more where the run was given up
    });
    thread.map_err(|error| Error::Unexpected(format!("no thread can be started: {error}")))?;
    told.await.map_err(|_| Error::Unexpected("what was computed in the background failed".into()))
}

/// Linux asks for no privilege. Where it is refused all the same, as in a sandbox, this thread computes like any other.
fn give_way() {
    let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
    if let Err(error) = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, idle) {
        tracing::debug!(%error, "the system lets this thread not give way");
    }
}
