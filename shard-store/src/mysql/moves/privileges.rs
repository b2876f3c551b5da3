// tidy: names SQL because its finding tells an administrator what to grant
//! Whether the account may do what a move does here.

use super::super::Inner;
use super::super::statements::GRANTS;
use crate::log::Finding;
use crate::store::StoreError;

/// Whether the account may write here.
pub(super) async fn may_write(inner: &Inner) -> Result<Option<Finding>, StoreError> {
    let rows = inner.readers.query(&GRANTS, ()).await?;
    let grants = inner.readers.read(&GRANTS, rows, |row| row.bytes())?;
    let grants: Vec<String> =
        grants.iter().map(|grant| String::from_utf8_lossy(grant).to_ascii_uppercase()).collect();
    let database = format!(" ON `{}`.*", inner.options.database).to_ascii_uppercase();
    let here: Vec<_> = grants
        .iter()
        .filter_map(|grant| grant.split_once(" ON *.*").or_else(|| grant.split_once(database.as_str())))
        .map(|(privileges, _)| privileges)
        .collect();
    let has = |wanted: &str| here.iter().any(|p| p.contains("ALL PRIVILEGES") || p.contains(wanted));
    let missing: Vec<_> =
        ["SELECT", "INSERT", "UPDATE", "DELETE"].into_iter().filter(|wanted| !has(wanted)).collect();
    if missing.is_empty() {
        return Ok(None);
    }
    // A role may bring them.
    let roles = grants.iter().any(|grant| !grant.contains(" ON "));
    let message = format!(
        "the account has no grant of {} on `{}`: a shard can't be moved to here, nor back: GRANT them to it",
        missing.join(", "),
        inner.options.database
    );
    Ok(Some(Finding { fatal: !roles, subject: "privileges".to_owned(), message }))
}
