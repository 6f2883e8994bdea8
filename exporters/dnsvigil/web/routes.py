"""The table of pages: each path with its function, and who may open it."""

from collections.abc import Sequence
from typing import Final

from dnsvigil.web import (
    address,
    client,
    domain,
    finding,
    findings,
    flows,
    groups,
    live,
    lookup,
    name,
    network,
    now,
    passive_dns_files,
    server,
    sign_in,
    zone,
)
from dnsvigil.web.page import Page

PAGES: Final[Sequence[Page]] = (
    Page("/", now.now, "everyone", label="Now"),
    Page("/findings", findings.findings, label="Findings"),
    Page("/findings.csv", findings.findings_csv),
    Page("/findings.json", findings.findings_json),
    Page("/findings/<int:number>", finding.finding),
    Page("/findings/<int:number>/dismiss", finding.dismiss, "triage", method="POST"),
    Page("/findings/<int:number>/reopen", finding.reopen, "triage", method="POST"),
    Page("/findings/<int:number>/note", finding.note, "triage", method="POST"),
    Page("/domain", domain.domain, shows="domain"),
    Page("/name", name.name, shows="name"),
    Page("/address", address.address, shows="address"),
    Page("/network", network.network, shows="network"),
    Page("/passive-dns.csv", passive_dns_files.records_csv),
    Page("/passive-dns.json", passive_dns_files.records_json),
    Page("/client", client.client, "clients", shows="client"),
    Page("/server", server.server, shows="server"),
    Page("/zone", zone.zone, shows="zone"),
    Page("/flows", flows.flows, label="Flows"),
    Page("/groups", groups.groups, label="Groups"),
    Page("/group", groups.group, shows="group"),
    Page("/live", live.live, label="Live"),
    Page("/live.events", live.records),
    Page("/lookup", lookup.lookup),
    Page("/sign-in", sign_in.form, "everyone"),
    Page("/sign-in", sign_in.sign_in, "everyone", method="POST"),
    Page("/sign-out", sign_in.sign_out, "everyone", method="POST"),
)
