// tidy: names SQL because its findings tell an administrator what to set
//! What a server must be set to for its log to be followed, and for its data to be leaned on (R1, R8).

use std::collections::{BTreeSet, HashMap};

use mysql_async::{Row, Value};

use super::super::connection::Lease;
use super::super::dialect::Flavour;
use super::super::error::Failure;
use super::super::statements::{
    GRANTS, LOG_MARIADB, LOG_MYSQL, REPLICA_MARIADB, REPLICA_MYSQL, Sql, VARIABLES,
};
use super::super::{Inner, MIN_PACKET};
use super::rules::{RULES, Rule, Server, When};
use super::state;
use crate::log::Finding;
use crate::store::StoreError;

/// Filters that would keep rows out of the log, or out of a replica: columns of the two status statements.
const FILTERS: &[&str] = &[
    "Binlog_Do_DB",
    "Binlog_Ignore_DB",
    "Replicate_Do_DB",
    "Replicate_Ignore_DB",
    "Replicate_Do_Table",
    "Replicate_Ignore_Table",
    "Replicate_Wild_Do_Table",
    "Replicate_Wild_Ignore_Table",
];

/// See [`crate::log::ServerLog::preflight`].
pub(super) async fn preflight(inner: &Inner) -> Result<Vec<Finding>, StoreError> {
    let mut lease = inner.readers.get().await?;
    let findings = look(inner, &mut lease).await;
    lease.release();
    findings
}

async fn look(inner: &Inner, lease: &mut Lease) -> Result<Vec<Finding>, StoreError> {
    let variables = lease.rows(&VARIABLES, ()).await?.into_iter().filter_map(name_and_value);
    let variables: HashMap<String, String> = variables.collect();
    let (log, replica) = match inner.dialect.flavour {
        Flavour::MariaDb => (&LOG_MARIADB, &REPLICA_MARIADB),
        Flavour::MySql => (&LOG_MYSQL, &REPLICA_MYSQL),
    };
    let mut findings = Vec::new();
    let log = status(lease, log, &mut findings).await?;
    let replica = status(lease, replica, &mut findings).await?;
    let server = Server {
        replica: !replica.is_empty(),
        unsafe_durability: inner.options.allow_unsafe_durability,
        min_packet: MIN_PACKET,
    };
    findings.extend(RULES.iter().filter_map(|rule| broken(rule, &variables, &server)));
    findings.extend(log.iter().chain(&replica).flat_map(filters));
    findings.extend(privileges(lease).await?);
    if inner.dialect.flavour == Flavour::MariaDb {
        findings.extend(domains(inner).await?);
    }
    Ok(findings)
}

/// Text of a value of SHOW.
fn text(value: &Value) -> String {
    match value {
        Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::NULL => String::new(),
        number => number.as_sql(true),
    }
}

fn name_and_value(row: Row) -> Option<(String, String)> {
    Some((text(row.as_ref(0)?), text(row.as_ref(1)?)))
}

/// Rows of a status statement; an account that may not see them is a finding.
async fn status(lease: &mut Lease, sql: &Sql, findings: &mut Vec<Finding>) -> Result<Vec<Row>, Failure> {
    match lease.rows(sql, ()).await {
        Err(failure) if failure.code == Some(ACCESS_DENIED) => {
            let message = format!(
                "the account may not see `{}`: whether this server is a replica, and its filters, can't be checked. \
                 GRANT REPLICATION CLIENT (on MariaDB also REPLICA MONITOR) ON *.* to it",
                sql.body()
            );
            findings.push(Finding { fatal: false, subject: "privileges".to_owned(), message });
            Ok(Vec::new())
        }
        rows => rows,
    }
}

const ACCESS_DENIED: u16 = 1227;

fn broken(rule: &Rule, variables: &HashMap<String, String>, server: &Server) -> Option<Finding> {
    let found = variables.get(rule.variable)?;
    if rule.when == When::Replica && !server.replica || (rule.holds)(found, server) {
        return None;
    }
    let Rule { variable, must, why, .. } = rule;
    let set = if rule.dynamic {
        format!("SET GLOBAL {variable} = {must}, and the same in the server's configuration")
    } else {
        format!("{variable} = {must} in the server's configuration, and restart the server")
    };
    let shown = if found.is_empty() { "''" } else { found };
    Some(Finding {
        fatal: rule.fatal && !(rule.durability && server.unsafe_durability),
        subject: (*variable).to_owned(),
        message: format!("{variable} is {shown}, must be {must}: {why}. {set}"),
    })
}

/// A filter keeps rows of some tables back.
fn filters(row: &Row) -> Vec<Finding> {
    let columns = row.columns_ref().iter().enumerate();
    let filters = columns.filter(|(_, column)| FILTERS.contains(&&*column.name_str()));
    let set = filters.filter_map(|(at, column)| {
        let found = row.as_ref(at).map(text).filter(|found| !found.is_empty())?;
        let name = column.name_str().into_owned();
        let message = format!(
            "{name} is {found}, must be empty: rows that a filter keeps back are missed without a sign. Remove it from \
             the server's configuration, and restart the server"
        );
        Some(Finding { fatal: true, subject: name, message })
    });
    set.collect()
}

async fn privileges(lease: &mut Lease) -> Result<Option<Finding>, Failure> {
    let grants = lease.rows(&GRANTS, ()).await?;
    let grants: Vec<_> = grants.iter().filter_map(|row| row.as_ref(0).map(text)).collect();
    let may = |grant: &&String| {
        grant.contains(" ON *.*")
            && ["ALL PRIVILEGES", "REPLICATION SLAVE", "REPLICATION REPLICA"]
                .iter()
                .any(|p| grant.contains(p))
    };
    if grants.iter().any(|grant| may(&grant)) {
        return Ok(None);
    }
    // A role may bring it: then opening the log will tell.
    let roles = grants.iter().any(|grant| !grant.contains(" ON "));
    let message = "the account has no grant of REPLICATION SLAVE, without which it may not follow the log: GRANT \
                   REPLICATION SLAVE ON *.* to it";
    Ok(Some(Finding { fatal: !roles, subject: "privileges".to_owned(), message: message.to_owned() }))
}

/// Transactions of several domains have no common order, and a position in the log is one GTID of each.
async fn domains(inner: &Inner) -> Result<Option<Finding>, StoreError> {
    let executed = state::executed(inner).await?;
    let domains: BTreeSet<_> = executed
        .sources()
        .filter_map(|(source, _)| source.split_once('-'))
        .map(|(domain, _)| domain)
        .collect();
    if domains.len() <= 1 {
        return Ok(None);
    }
    let message = format!(
        "the log has transactions of {} domains ({}), must be of one: only one domain keeps the order of a shard's \
         transactions on a replica that applies in parallel. SET GLOBAL gtid_domain_id to the same on all servers, and \
         RESET MASTER on servers that were copied anew",
        domains.len(),
        domains.into_iter().collect::<Vec<_>>().join(", ")
    );
    Ok(Some(Finding { fatal: true, subject: "gtid_domain_id".to_owned(), message }))
}
