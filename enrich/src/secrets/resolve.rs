//! From a reference to its value.

use std::time::{Duration, Instant};

use super::error::{SecretError, Why};
use super::recent::{Accept, Recent};
use super::resolver::Resolver;
use super::{Reference, Secret, local, value, vault, vendor};
use crate::proxy::Proxy;

impl Resolver {
    /// The value that `reference` names, or that a program printed for it lately. May take as long as
    /// [`super::TIME_LIMIT`].
    ///
    /// # Errors
    /// [`SecretError`].
    pub fn resolve(&self, reference: &Reference) -> Result<Secret, SecretError> {
        match &self.recent {
            Some((recent, accept)) => recent.value(self, reference, *accept),
            None => self.look(reference),
        }
    }

    /// The value as it is now.
    pub(super) fn look(&self, reference: &Reference) -> Result<Secret, SecretError> {
        let found = match reference {
            Reference::Env(name) => local::env(self, name),
            Reference::File(path) => local::file(path, &self.owners),
            Reference::Vault { path, field, .. } => vault::read(self, path, field),
            Reference::Op(item) => vendor::op(self, item),
            Reference::AwsSm { region, id, key } => vendor::aws_sm(self, region.as_deref(), id, key.as_deref()),
            Reference::Sops { path, keys } => vendor::sops(self, path, keys),
        };
        found.map_err(|why| SecretError { reference: reference.clone(), why })
    }
}

impl Resolver {
    /// The proxy that is wanted, with its credentials. May take as long as [`super::TIME_LIMIT`].
    ///
    /// # Errors
    /// As [`Plan::proxy`](crate::proxy::Plan::proxy).
    pub fn proxy(&self) -> Result<Option<Proxy>, String> {
        let Some(plan) = &self.proxy else { return Ok(None) };
        // Where Vault holds them, it is asked directly: the way to it cannot lead through the proxy that they open.
        let directly = Resolver { proxy: None, ..self.clone() };
        plan.proxy(&self.environment, |reference| directly.resolve(reference))
    }
}

impl Resolver {
    /// As [`resolve`](Resolver::resolve), for a key: a file or a program often gives more than the key, and the service
    /// would refuse it without a reason.
    ///
    /// # Errors
    /// [`SecretError`].
    pub fn key(&self, reference: &Reference) -> Result<Secret, SecretError> {
        match &self.recent {
            Some((recent, accept)) => recent.resolve(self, reference, *accept, Instant::now).0,
            None => self.look(reference).and_then(|secret| as_key(reference, secret)),
        }
    }
}

/// The value of a reference, if it can be a key.
pub(super) fn as_key(reference: &Reference, secret: Secret) -> Result<Secret, SecretError> {
    match value::not_a_key(secret.expose()) {
        None => Ok(secret),
        Some(why) => Err(SecretError { reference: reference.clone(), why: Why::Refused(why.to_owned()) }),
    }
}

impl Recent {
    /// The key that `reference` names, and how old that answer is. `now` is read again after waiting. May take as long as two
    /// programs do.
    pub fn resolve(
        &self,
        resolver: &Resolver,
        reference: &Reference,
        accept: Accept,
        now: impl Fn() -> Instant,
    ) -> (Result<Secret, SecretError>, Duration) {
        self.look(resolver, reference, accept, now, |secret| as_key(reference, secret))
    }

    /// As [`Recent::resolve`], for a value that need not be a key. Both have one answer.
    pub(super) fn value(
        &self,
        resolver: &Resolver,
        reference: &Reference,
        accept: Accept,
    ) -> Result<Secret, SecretError> {
        self.look(resolver, reference, accept, Instant::now, Ok).0
    }

    fn look(
        &self,
        resolver: &Resolver,
        reference: &Reference,
        accept: Accept,
        now: impl Fn() -> Instant,
        judge: impl Fn(Secret) -> Result<Secret, SecretError>,
    ) -> (Result<Secret, SecretError>, Duration) {
        match resolver.program_of(reference) {
            Some(program) => self.ask((reference.clone(), program), accept, now, || resolver.look(reference), judge),
            None => (resolver.look(reference).and_then(judge), Duration::ZERO),
        }
    }
}
