//! Recent output of programs. Each run of one may be counted and billed by the secret manager, and settings are
//! reloaded, and the doctor is called, for reasons unrelated to keys.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use super::{Reference, Secret, SecretError};

/// How long an answer may be used again.
pub const KEPT: Duration = Duration::from_secs(60);

/// Which answer of before will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accept {
    /// None: a new value is needed.
    Nothing,
    /// A secret that was found.
    Found,
    /// That none was found, as well.
    Any,
    /// A secret that was found; that none was found, since then.
    Since(Instant),
}

/// The answers, shared by all resolvers of a process. Only those of programs are kept: variables and files cost
/// nothing, and Vault is asked each time.
#[derive(Default)]
pub struct Recent(Mutex<HashMap<Asked, Slot>>);

/// A reference, and the program that was asked.
pub(super) type Asked = (Reference, PathBuf);
/// Locked while its program runs: who wants the same waits for it.
type Slot = Arc<Mutex<Option<Answer>>>;

struct Answer {
    at: Instant,
    found: Result<Secret, SecretError>,
    /// A secret was found, and is what was wanted.
    is_good: bool,
}

impl Accept {
    fn takes(self, answer: &Answer) -> bool {
        match self {
            Accept::Nothing => false,
            Accept::Found => answer.is_good,
            Accept::Any => true,
            Accept::Since(begun) => answer.is_good || answer.at >= begun,
        }
    }
}

impl fmt::Debug for Recent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Recent(…)")
    }
}

impl Recent {
    /// The one of this process.
    pub fn of_process() -> Arc<Recent> {
        static ALL: LazyLock<Arc<Recent>> = LazyLock::new(Arc::default);
        Arc::clone(&ALL)
    }

    /// What `look` finds, or has found lately, if it is what `judge` wants; and how old that is.
    pub(super) fn ask(
        &self,
        asked: Asked,
        accept: Accept,
        now: impl Fn() -> Instant,
        look: impl Fn() -> Result<Secret, SecretError>,
        judge: impl Fn(Secret) -> Result<Secret, SecretError>,
    ) -> (Result<Secret, SecretError>, Duration) {
        let slot = self.locked(|answers| answers.entry(asked).or_default().clone());
        let mut slot = slot.lock();
        if let Some(answer) = &mut *slot {
            let age = now().saturating_duration_since(answer.at);
            if accept.takes(answer) && age < KEPT {
                let judged = answer.found.clone().and_then(judge);
                answer.is_good &= judged.is_ok();
                return (judged, age);
            }
        }
        let found = look();
        let judged = found.clone().and_then(judge);
        *slot = Some(Answer { at: now(), found, is_good: judged.is_ok() });
        (judged, Duration::ZERO)
    }

    /// The error may be fixed.
    pub fn forget_failures(&self) {
        self.keep(|answer| answer.is_good);
    }

    /// Drops unused answers: no secret stays in memory longer than needed.
    pub fn prune(&self, now: Instant) {
        self.keep(|answer| now.saturating_duration_since(answer.at) < KEPT);
    }

    /// A slot whose program runs is left alone.
    fn keep(&self, keeps: impl Fn(&Answer) -> bool) {
        self.locked(|answers| {
            answers.retain(|_, slot| match slot.try_lock() {
                Some(answer) => answer.as_ref().is_some_and(&keeps),
                None => true,
            });
        });
    }

    fn locked<T>(&self, f: impl FnOnce(&mut HashMap<Asked, Slot>) -> T) -> T {
        f(&mut self.0.lock())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::sync::Barrier;

    use super::*;
    use crate::proxy::Plan;
    use crate::secrets::fake::Directory;
    use crate::secrets::tests::WRITING;
    use crate::secrets::{Commands, Resolver};

    struct Site {
        directory: Directory,
        resolver: Resolver,
        reference: Reference,
        recent: Recent,
    }

    impl Site {
        /// A program that counts its runs, and fails while there is no key.
        fn new() -> Site {
            let _writing = WRITING.write();
            let directory = Directory::new();
            let dir = directory.path().display().to_string();
            let script = format!("#!/bin/sh\necho >> {dir}/ran\nexec cat {dir}/key\n");
            let op = directory.write("op", script);
            fs::set_permissions(&op, fs::Permissions::from_mode(0o755)).unwrap();
            let commands = Commands::parse(&format!("op={}", op.display())).unwrap();
            let resolver = Resolver { commands, ..Resolver::default() };
            let reference = Reference::parse("op://ops/greynoise/key").unwrap();
            Site { directory, resolver, reference, recent: Recent::default() }
        }

        fn ask(&self, accept: Accept, now: Instant) -> Option<(String, Duration)> {
            let _spawning = WRITING.read();
            let (found, age) = self.recent.resolve(&self.resolver, &self.reference, accept, || now);
            found.ok().map(|secret| (secret.expose().to_owned(), age))
        }

        /// By the resolver itself.
        fn value(&self) -> Result<String, SecretError> {
            let _spawning = WRITING.read();
            self.resolver.resolve(&self.reference).map(|secret| secret.expose().to_owned())
        }

        fn runs(&self) -> usize {
            fs::read(self.directory.path().join("ran")).unwrap_or_default().len()
        }
    }

    #[test]
    fn a_program_that_found_a_key_runs_once_a_minute_at_most() {
        let (site, start) = (Site::new(), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        site.directory.write("key", "one");
        assert_eq!(site.ask(Accept::Any, start), Some(("one".to_owned(), Duration::ZERO)));
        site.directory.write("key", "two");
        assert_eq!(site.ask(Accept::Any, after(59)), Some(("one".to_owned(), Duration::from_secs(59))));
        assert_eq!(site.ask(Accept::Found, after(59)).unwrap().0, "one");
        assert_eq!(site.runs(), 1);
        assert_eq!(site.ask(Accept::Any, after(60)).unwrap().0, "two");
        // With this request it runs at once.
        site.directory.write("key", "three");
        assert_eq!(site.ask(Accept::Nothing, after(61)).unwrap().0, "three");
        assert_eq!(site.runs(), 3);
        // Another program is another source.
        let mut other = site.resolver.clone();
        other.commands = Commands::parse("op=/nonexistent/op").unwrap();
        assert!(site.recent.resolve(&other, &site.reference, Accept::Any, || after(61)).0.is_err());
        assert_eq!(site.runs(), 3);
    }

    #[test]
    fn a_failure_is_remembered_for_who_asks_and_not_for_a_reload() {
        let (site, start) = (Site::new(), Instant::now());
        assert_eq!(site.ask(Accept::Any, start), None);
        assert_eq!(site.ask(Accept::Any, start), None);
        assert_eq!(site.runs(), 1);
        assert_eq!(site.ask(Accept::Found, start), None);
        assert_eq!(site.runs(), 2);
        site.directory.write("key", "one");
        site.recent.forget_failures();
        assert_eq!(site.ask(Accept::Any, start).unwrap().0, "one");
        site.recent.forget_failures();
        assert_eq!(site.ask(Accept::Any, start).unwrap().0, "one");
        assert_eq!(site.runs(), 3);
    }

    #[test]
    fn what_is_no_key_is_a_failure_for_who_wants_one() {
        let (mut site, start) = (Site::new(), Instant::now());
        site.directory.write("key", "NAME=value");
        site.resolver.recent = Some((Arc::default(), Accept::Any));
        let recent = site.resolver.recent.clone().unwrap().0;
        let run = |site: &Site, accept| {
            let _spawning = WRITING.read();
            recent.resolve(&site.resolver, &site.reference, accept, || start).0.is_ok()
        };
        assert_eq!(site.value().unwrap(), "NAME=value");
        assert!(!run(&site, Accept::Any));
        assert_eq!(site.runs(), 1);
        assert!(!run(&site, Accept::Found));
        assert_eq!(site.runs(), 2);
        recent.forget_failures();
        site.directory.write("key", "one");
        assert!(run(&site, Accept::Any));
        assert_eq!(site.runs(), 3);
    }

    #[test]
    fn credentials_of_the_proxy_and_keys_have_one_answer() {
        let mut site = Site::new();
        site.directory.write("key", "me:hunter2");
        let credentials = site.reference.to_string();
        site.resolver.proxy = Some(Plan { https_proxy: "p:1".to_owned(), credentials, ..Plan::default() });
        site.resolver.recent = Some((Arc::default(), Accept::Any));
        // As after a reload: with a resolver of its own.
        let again = site.resolver.clone();
        let _spawning = WRITING.read();
        for resolver in [&site.resolver, &again] {
            assert!(resolver.proxy().unwrap().is_some());
            assert_eq!(resolver.key(&site.reference).unwrap().expose(), "me:hunter2");
        }
        assert_eq!(site.runs(), 1);
    }

    #[test]
    fn a_failure_of_before_does_not_count_for_who_begins() {
        let mut site = Site::new();
        let recent = Arc::new(Recent::default());
        let begin = |site: &mut Site| {
            site.resolver.recent = Some((Arc::clone(&recent), Accept::Since(Instant::now())));
        };
        begin(&mut site);
        assert!(site.value().is_err() && site.value().is_err());
        assert_eq!(site.runs(), 1);
        site.directory.write("key", "one");
        begin(&mut site);
        assert_eq!(site.value().unwrap(), "one");
        begin(&mut site);
        assert_eq!(site.value().unwrap(), "one");
        assert_eq!(site.runs(), 2);
    }

    #[test]
    fn many_at_a_time_have_it_run_once() {
        let site = Site::new();
        site.directory.write("key", "one");
        let barrier = Barrier::new(4);
        let _spawning = WRITING.read();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    barrier.wait();
                    let (found, _) = site.recent.resolve(&site.resolver, &site.reference, Accept::Any, Instant::now);
                    assert_eq!(found.unwrap().expose(), "one");
                });
            }
        });
        assert_eq!(site.runs(), 1);
    }

    #[test]
    fn what_is_old_is_dropped() {
        let (site, start) = (Site::new(), Instant::now());
        site.directory.write("key", "one");
        site.ask(Accept::Any, start);
        site.recent.prune(start + KEPT - Duration::from_secs(1));
        assert_eq!(site.recent.0.lock().len(), 1);
        site.recent.prune(start + KEPT);
        assert_eq!(site.recent.0.lock().len(), 0);
    }

    #[test]
    fn a_file_is_read_each_time() {
        let (site, now) = (Site::new(), Instant::now());
        let reference = Reference::File(site.directory.write("file", "one"));
        let read = || {
            let (found, _) = site.recent.resolve(&site.resolver, &reference, Accept::Any, || now);
            found.unwrap().expose().to_owned()
        };
        assert_eq!(read(), "one");
        site.directory.write("file", "two");
        assert_eq!(read(), "two");
    }
}
