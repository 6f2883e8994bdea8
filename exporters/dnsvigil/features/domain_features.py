"""The features of each registered domain, from the summaries of its queries and from passive DNS.

    domain_hours ── hours ─┬─ hour_counts ── asked_domains, domain_days, domain_activity ──┐
                           └─ client_hashes, domain_clients, domain_subdomains ────────────┤
    tuples ─┬─ tuple_names ── tuple_domains ─┬─ rrsets ── domain_rrsets, domain_servers ───┼─ domain_features
            └── aliases_N ───────────────────┴─ domain_addresses ── dispersion, networks ──┤
    feature_domains (of both) ── label_places ── domain_labels, domain_words ──────────────┘

Between the first tables and the last, a ``domain`` is its ``domain_number``: texts take twice the time.
A table of a period is made of the summaries and tuples of that period, which may have several rows for a key: all add
up. Formulas and their sources stand in docs/features.md, and at each function here.
"""

from typing import Final

import ibis
import ibis.expr.types as ir

from dnsvigil.features.addresses import LEVELS, network
from dnsvigil.features.domain_hours import domain_hours_table
from dnsvigil.features.domains import registered_domains, reversed_labels
from dnsvigil.features.functions import domain_number, reversed_list
from dnsvigil.features.passive_dns import tuples_table
from dnsvigil.features.summaries import table_of
from dnsvigil.records import DOMAIN_FEATURES, SHORTEST_WORD
from dnsvigil.store.sketches import DOMAIN_HASHES, DOMAIN_SKETCH_SIZE
from dnsvigil.store.tuple_keys import IPV4, IPV6, NAME

CHAIN: Final = 4
"""So many CNAMEs are followed from a name in the domain to its addresses."""

TTL_BOUNDS: Final = (1, 10, 100, 300, 900)
"""Where the ranges of TTLs end that EXPOSURE counts, in seconds."""

_OF_QUERIES: Final = ("queries", "subdomains")
_OF_TUPLES: Final = ("ips", "name_servers", "ttls", "ttl_changes", "sharing_domains")
"""Counts that are 0, not NULL, where there is nothing of the domain but something of others."""


# What is asked


def numbered_hours(hours: ir.Table, domains: ir.Table) -> ir.Table:
    """Return the summaries with the number of each ``domain``."""
    t = hours.rename(text="domain").inner_join(domains.select("domain", text="name"), "text")
    return t.drop("text")


def hour_counts(hours: ir.Table) -> ir.Table:
    """Return one row of those of each ``domain`` and ``hour``, without the sketches."""
    return hours.group_by("domain", "hour").agg(
        queries=hours.queries.sum().cast("int64"),
        known=hours.known.sum().cast("int64"),
        failed=hours.failed.sum().cast("int64"),
        nxdomain=hours.nxdomain.sum().cast("int64"),
        first_seen=hours.first_seen.min(),
        last_seen=hours.last_seen.max(),
    )


def asked_domains(counts: ir.Table) -> ir.Table:
    """Return the sums of each ``domain``, and in how many ``hours`` there was a query.

    ``seen_from`` and ``seen_to`` are those of its queries, in seconds since the epoch.
    """
    t = counts
    return t.group_by("domain").agg(
        hours=t.count(),
        queries=t.queries.sum().cast("int64"),
        known=t.known.sum().cast("int64"),
        failed=t.failed.sum().cast("int64"),
        nxdomain=t.nxdomain.sum().cast("int64"),
        seen_from=_seconds(t.first_seen.min()),
        seen_to=_seconds(t.last_seen.max()),
    )


def domain_days(counts: ir.Table) -> ir.Table:
    """Return the ``daily_similarity`` of each ``domain`` that was asked for on several days.

    A day is the vector of its hours' shares in its queries. Two days are at most sqrt(2) apart. The similarity is
    1 - d / sqrt(2), d the root mean square of the Euclidean distances of all pairs of days: by the identity
    sum over pairs |x - y|^2 = n sum |x|^2 - |sum x|^2, no pair is ever formed. Days that are all alike have 1.
    After the daily similarity of EXPOSURE (Bilge et al., ACM TISSEC 2014), which takes the mean distance.
    """
    t = counts.select("domain", "queries", day=counts.hour.truncate("D"), at=counts.hour.hour())
    totals = t.group_by("domain", "day").agg(total=t.queries.sum().cast("float64"))
    days = totals.group_by("domain").agg(days=totals.count())
    days = days.filter(days.days > 1)
    t = t.semi_join(days, "domain").inner_join(totals, ["domain", "day"])
    t = t.mutate(share=t.queries / t.total)
    by_hour = t.group_by("domain", "at").agg(share=t.share.sum(), squares=(t.share * t.share).sum())
    sums = by_hour.group_by("domain").agg(own=by_hour.squares.sum(), common=(by_hour["share"] * by_hour["share"]).sum())
    t = sums.inner_join(days, "domain")
    mean_square = (t.days * t.own - t.common) / (t.days * (t.days - 1) / 2)
    return t.select("domain", daily_similarity=1 - (ibis.greatest(mean_square, 0.0) / 2).sqrt())


def domain_activity(counts: ir.Table) -> ir.Table:
    """Return how often queries for each ``domain`` began: ``activities``, runs of hours in a row with queries.

    ``activity_variation`` is the standard deviation of the times from one begin to the next over their mean, NULL for
    fewer than two such times: 0 for a domain that is asked for every night at three. EXPOSURE finds such patterns by
    the change points of a time series; sums by the hour are enough for this, and add up.
    """
    t = counts.select("domain", number=_seconds(counts.hour) // 3600)
    t = t.mutate(before=t.number.lag().over(group_by="domain", order_by="number"))
    t = t.filter(t.before.isnull() | (t.number - t.before > 1)).select("domain", "number")
    t = t.mutate(step=t.number - t.number.lag().over(group_by="domain", order_by="number"))
    t = t.group_by("domain").agg(
        activities=t.count(), steps=t.step.count(), mean=t.step.mean(), deviation=t.step.std(how="pop")
    )
    return t.select("domain", "activities", activity_variation=ibis.ifelse(t.steps > 1, t.deviation / t["mean"], None))


def set_hashes(hours: ir.Table, column: str) -> ir.Table:
    """Return each ``hash`` in the sketches of each ``domain``, once."""
    return hours.select("domain", hash=hours[column].unnest()).distinct()


def set_sizes(hashes: ir.Table, name: str) -> ir.Table:
    """Estimate how many distinct values there are for each ``domain``; the column has that ``name``.

    It is exact below ``DOMAIN_SKETCH_SIZE``, else as :func:`dnsvigil.store.sketches.estimate_distinct` says, of the
    hashes of this table.
    """
    counts = hashes.group_by("domain").agg(count=hashes.count())
    large = counts.filter(counts["count"] >= DOMAIN_SKETCH_SIZE)
    # Few domains have so many, and only theirs need to be ordered.
    t = hashes.semi_join(large, "domain")
    t = t.mutate(place=ibis.row_number().over(group_by="domain", order_by="hash"))
    t = t.filter(t.place == DOMAIN_SKETCH_SIZE - 1).select("domain", last="hash")
    t = counts.left_join(t, "domain")
    return t.select(
        "domain", ibis.ifelse(t["last"].isnull(), t["count"].cast("float64"), _estimate(t["last"])).name(name)
    )


def all_clients(hashes: ir.Table) -> ir.Table:
    """Estimate the distinct ``clients`` of all domains; ``hashes`` are those of each domain.

    The smallest of all are among the smallest of each domain that has them, so that nothing is lost here.
    """
    t = hashes.select("hash").distinct()
    counted = t.agg(total=t.count())
    least = t.order_by("hash").limit(DOMAIN_SKETCH_SIZE)
    t = counted.cross_join(least.agg(last=least.hash.max()))
    return t.select(clients=ibis.ifelse(t.total < DOMAIN_SKETCH_SIZE, t.total.cast("float64"), _estimate(t["last"])))


def _seconds(time: ir.TimestampValue) -> ir.IntegerValue:
    return time.truncate("s").epoch_seconds().cast("int64")


def _estimate(last: ir.IntegerValue) -> ir.FloatingValue:
    return (DOMAIN_SKETCH_SIZE - 1) * float(DOMAIN_HASHES) / last


# What is answered


def tuple_names(tuples: ir.Table, ambiguous: ir.Table, suffixes: ir.Table) -> ir.Table:
    """Return the ``name`` of the registered domain of each ``nkey`` of the tuples.

    ``ambiguous.tail`` has the last two labels, and the last label, of names of which two labels are not the domain.
    """
    t = tuples.select("nkey").distinct()
    parts = t.nkey.split(".")
    t = t.mutate(two=reversed_list(parts[:2]).join("."), top=parts[0])
    two = ambiguous.select(two_tail="tail")
    top = ambiguous.select(top_tail="tail")
    t = t.left_join(two, t.two == two.two_tail)
    t = t.left_join(top, t.top == top.top_tail)
    t = t.select("nkey", "two", whole=t.two_tail.notnull() | t.top_tail.notnull())
    whole = t.filter(t.whole)
    looked_up = registered_domains(whole.select(key=reversed_labels(whole.nkey)), suffixes)
    t = t.left_join(looked_up.select("domain", nkey=reversed_labels(looked_up.key)), "nkey")
    return t.select("nkey", name=t.domain.fill_null(t.two))


def tuple_domains(names: ir.Table, domains: ir.Table) -> ir.Table:
    """Return the number of the ``domain`` of each ``nkey``."""
    return names.inner_join(domains, "name").select("nkey", "domain")


def aliases(names: ir.Table, tuples: ir.Table) -> ir.Table:
    """Return each ``domain`` with the ``nkey`` that one more CNAME leads to, from ``names`` of both columns."""
    cnames = tuples.filter(tuples.rrtype == "CNAME")
    cnames = cnames.select("nkey", target=cnames.rkey.substr(len(NAME))).distinct()
    return names.inner_join(cnames, "nkey").select("domain", nkey="target").distinct()


def domain_addresses(tuples: ir.Table, *names: ir.Table) -> ir.Table:
    """Return each ``address`` of each ``domain`` once, as its key, with its ``family``, 4 or 6.

    ``names`` have the domain of each ``nkey``, those that CNAMEs lead to among them. Data of A and AAAA that is no
    address counts for nothing.
    """
    four = (tuples.rrtype == "A") & tuples.rkey.startswith(IPV4)
    six = (tuples.rrtype == "AAAA") & tuples.rkey.startswith(IPV6)
    t = tuples.filter(four | six)
    family = ibis.ifelse(t.rrtype == "A", ibis.literal(4, "int8"), ibis.literal(6, "int8"))
    hosts = t.select("nkey", address="rkey", family=family)
    t = ibis.union(*(hosts.inner_join(each, "nkey").select("domain", "address", "family") for each in names))
    return t.distinct()


def ip_dispersion(addresses: ir.Table) -> ir.Table:
    """Return the ``ip_dispersion`` of each ``domain``: 0 for one network at every level, 1 for one of each address.

    For each family and each of its prefix lengths, of ``LEVELS``, it is the Shannon entropy H of the n addresses over
    the networks, as a share of the most that it can be: H / ln(min(n, 2^length)), 0 for n = 1. A family's is the mean
    over its lengths, the domain's the mean over its families weighted by their addresses. The idea is that of the
    dispersion index of DNSSM (Marchal et al., NOMS 2012); lengths and normalization are ours.
    """
    sizes = addresses.group_by("domain", "family").agg(total=addresses.count())
    # Most domains have one address, and need none of this.
    several = sizes.filter(sizes.total > 1)
    lying = addresses.semi_join(several, ["domain", "family"])
    levels = [
        lying.select("domain", "family", level=ibis.literal(level, "int8"), network=_network(lying, level))
        for level in range(3)
    ]
    t = ibis.union(*levels)
    t = t.group_by("domain", "family", "level", "network").agg(count=t.count().cast("float64"))
    t = t.group_by("domain", "family", "level").agg(
        networks=t.count(), total=t["count"].sum(), weighted=(t["count"] * t["count"].ln()).sum()
    )
    bits = ibis.cases(
        *(
            ((t.family == family) & (t.level == level), float(2 ** min(length, 62)))
            for family, lengths in LEVELS.items()
            for level, length in enumerate(lengths)
        ),
        else_=1.0,
    )
    entropy = t.total.ln() - t.weighted / t.total
    t = t.mutate(index=ibis.ifelse(t.networks == 1, 0.0, entropy / ibis.least(t.total, bits).ln()))
    t = t.group_by("domain", "family").agg(index=t["index"].mean())
    t = sizes.left_join(t, ["domain", "family"])
    t = t.group_by("domain").agg(weighted=(t["index"].fill_null(0.0) * t.total).sum(), total=t.total.sum())
    return t.select("domain", ip_dispersion=t.weighted / t.total)


def _network(addresses: ir.Table, level: int) -> ir.StringValue:
    four, six = (network(addresses.address, family, level) for family in (4, 6))
    return ibis.ifelse(addresses.family == 4, four, six)


def address_sharing(addresses: ir.Table) -> ir.Table:
    """Return how many ``domains`` each ``address`` has."""
    return addresses.group_by("address").agg(domains=addresses.count())


def domain_networks(addresses: ir.Table, sharing: ir.Table, places: ir.Table) -> ir.Table:
    """Return how many ``ips`` each ``domain`` has, and their distinct ``asns`` and ``countries``, NULL for none known.

    ``sharing_domains`` is the number of other domains at that of its addresses where there are most: ``sharing`` has
    the ``domains`` of an ``address``. ``places`` has its ``asn`` and ``country``, as far as the operator's tables know
    them.
    """
    t = addresses.select("domain", "address").left_join(places, "address").drop("address_right")
    t = t.left_join(sharing, "address")
    return t.group_by("domain").agg(
        ips=t.count(),
        asns=t.asn.nunique().nullif(0),
        countries=t.country.nunique().nullif(0),
        sharing_domains=t.domains.max() - 1,
    )


def rrsets(tuples: ir.Table, names: ir.Table) -> ir.Table:
    """Return each RRset (``nkey``, ``rrtype``) with its ``domain``, largest ``ttl``, and how many ``ttls`` it had.

    An RRset has one TTL at a time (RFC 2181, section 5.2). Answers from a cache count theirs down, so the largest of a
    tuple is what comes nearest to the zone's. With it go the ``time_first`` and ``time_last``.
    """
    t = tuples.group_by("nkey", "rrtype", "ttl_max").agg(
        time_first=tuples.time_first.min(), time_last=tuples.time_last.max()
    )
    t = t.group_by("nkey", "rrtype").agg(
        ttl=t.ttl_max.max(), ttls=t.ttl_max.count(), time_first=t.time_first.min(), time_last=t.time_last.max()
    )
    return t.inner_join(names, "nkey").select("domain", "nkey", "rrtype", "ttl", "ttls", "time_first", "time_last")


def domain_rrsets(rrsets: ir.Table) -> ir.Table:
    """Return what the TTLs of each ``domain`` are, over its RRsets, and when its tuples were seen.

    ``ttl_variation`` is the coefficient of variation, the standard deviation over the mean; 0 where the mean is 0. The
    shares of ranges are those of EXPOSURE. ``ttl_changes`` sums what an RRset had of TTLs beyond one.
    """
    t = rrsets
    ranges = dict(zip(_range_names(), _ranges(t.ttl), strict=True))
    found = t.group_by("domain").agg(
        ttl_mean=t.ttl.mean(),
        deviation=t.ttl.std(how="pop"),
        ttls=t.ttl.nunique(),
        ttl_changes=ibis.greatest(t.ttls - 1, 0).sum().cast("int64"),
        seen_from=t.time_first.min(),
        seen_to=t.time_last.max(),
        **{name: t.ttl.count(where=inside) / t.ttl.count().nullif(0) for name, inside in ranges.items()},
    )
    variation = ibis.ifelse(found.ttl_mean > 0, found.deviation / found.ttl_mean, found.deviation)
    return found.mutate(ttl_variation=variation).drop("deviation")


def _range_names() -> list[str]:
    return [*(f"ttl_below_{bound}" for bound in TTL_BOUNDS), f"ttl_from_{TTL_BOUNDS[-1]}"]


def _ranges(ttl: ir.IntegerValue) -> list[ir.BooleanValue]:
    lows = (0, *TTL_BOUNDS)
    return [*((ttl >= low) & (ttl < high) for low, high in zip(lows, TTL_BOUNDS, strict=False)), ttl >= TTL_BOUNDS[-1]]


def domain_servers(tuples: ir.Table, names: ir.Table) -> ir.Table:
    """Return how many ``name_servers`` the NS records of each ``domain``, and of zones below it, name."""
    t = tuples.filter(tuples.rrtype == "NS").inner_join(names, "nkey").select("domain", "rkey").distinct()
    return t.group_by("domain").agg(name_servers=t.count())


# Names


def feature_domains(hours: ir.Table, names: ir.Table) -> ir.Table:
    """Return the ``name`` of each domain that was asked for or answered about, with its number and first ``label``."""
    t = ibis.union(hours.select(name="domain"), names.select("name")).distinct()
    return t.mutate(domain=domain_number(t.name), label=t.name.split(".")[0])


def label_places(domains: ir.Table) -> ir.Table:
    """Return what is left of the label at each place in it: ``rest`` begins with the character there."""
    places = domains.filter(domains.label != "")
    t = places.select("domain", "label", place=ibis.range(0, places.label.length()).unnest())
    return t.select("domain", rest=t.label.substr(t.place))


def name_entropy(places: ir.Table) -> ir.Table:
    """Return the ``length`` of each domain's label, and its ``name_entropy``: Shannon's, of its characters, in bits.

    ``digits`` is how many of them are digits.
    """
    t = places.select("domain", character=places.rest.left(1))
    t = t.group_by("domain", "character").agg(count=t.count().cast("float64"))
    digit = (t.character >= "0") & (t.character <= "9")
    t = t.group_by("domain").agg(
        length=t["count"].sum(),
        digits=t["count"].sum(where=digit).fill_null(0.0),
        weighted=(t["count"] * t["count"].ln()).sum(),
    )
    bits = (t.length.ln() - t.weighted / t.length) / ibis.literal(2.0).ln()
    return t.select("domain", "length", "digits", name_entropy=ibis.greatest(bits, 0.0))


def longest_words(places: ir.Table, words: ir.Table) -> ir.Table:
    """Return the length of the ``longest_word`` anywhere in each domain's label.

    ``words`` has each ``word`` with its ``begin``, its first ``SHORTEST_WORD`` letters. EXPOSURE's longest meaningful
    substring is the same, with another dictionary.
    """
    t = places.filter(places.rest.length() >= SHORTEST_WORD).mutate(begin=places.rest.left(SHORTEST_WORD))
    t = t.inner_join(words, "begin")
    t = t.filter(t.rest.startswith(t.word))
    return t.group_by("domain").agg(longest_word=t.word.length().max())


# All


def what_is_known(asked: ir.Table, answered: ir.Table, words: ir.Table) -> ir.Table:
    """Return whether there are any queries, any tuples, and any words: without, a count is NULL rather than 0."""
    hours = asked.agg(has_hours=asked.count() > 0)
    return hours.cross_join(answered.agg(has_tuples=answered.count() > 0), words.agg(has_words=words.count() > 0))


def domain_features(domains: ir.Table, everybody: ir.Table, known: ir.Table, parts: list[ir.Table]) -> ir.Table:
    """Return all features of each domain, with ``first_seen`` and ``last_seen``; ``parts`` have some of them each.

    DNS Magnitude is 10 ln(n) / ln(N), n the clients that asked for the domain and N all (Mayrhofer et al., 2020).
    """
    t = domains.select("domain", "name")
    for part in parts:
        t = t.left_join(part, "domain").drop("domain_right")
    t = t.cross_join(everybody.select(all_clients="clients"), known)
    first = ibis.coalesce(ibis.least(t.seen_from, t.tuples_from), t.seen_from, t.tuples_from)
    last = ibis.coalesce(ibis.greatest(t.seen_to, t.tuples_to), t.seen_to, t.tuples_to)
    t = t.mutate(first_seen=first, last_seen=last)
    derived = {
        "queries_per_hour": t.queries / t.hours,
        "seen_seconds": t.last_seen - t.first_seen,
        "failed_share": t.failed / t.known.nullif(0),
        "nxdomain_share": t.nxdomain / t.known.nullif(0),
        "digits_share": t.digits / t.length,
        "longest_word_share": ibis.ifelse(t.has_words, t.longest_word.fill_null(0) / t.length, None),
        "magnitude": ibis.ifelse(t.all_clients > 1, 10 * t.clients.ln() / t.all_clients.ln(), None),
        "prevalence": t.clients / t.all_clients,
    }
    zero = dict.fromkeys(_OF_QUERIES, t.has_hours) | dict.fromkeys(_OF_TUPLES, t.has_tuples)
    t = t.mutate(**derived, **{name: ibis.ifelse(t[name].isnull() & some, 0, t[name]) for name, some in zero.items()})
    return t.select("first_seen", "last_seen", *DOMAIN_FEATURES, domain="name").relocate("domain", before="first_seen")


def expressions() -> dict[str, ir.Table]:
    """Return what makes each table, in order."""
    hours, tuples = domain_hours_table(), tuples_table()
    suffixes = ibis.table({"suffix": "string", "kind": "string"}, name="suffixes")
    ambiguous = ibis.table({"tail": "string"}, name="suffix_tails")
    words = ibis.table({"word": "string", "begin": "string"}, name="words")
    places = ibis.table({"address": "string", "asn": "int64", "country": "string"}, name="address_places")
    made: dict[str, ir.Table] = {}

    def keep(name: str, expression: ir.Table) -> ir.Table:
        made[name] = expression
        return table_of(made, name)

    named = keep("tuple_names", tuple_names(tuples, ambiguous, suffixes))
    domains = keep("feature_domains", feature_domains(hours, named))
    hours = keep("hours", numbered_hours(hours, domains))
    counts = keep("hour_counts", hour_counts(hours))
    asked = keep("asked_domains", asked_domains(counts))
    days = keep("domain_days", domain_days(counts))
    activity = keep("domain_activity", domain_activity(counts))
    client_hashes = keep("client_hashes", set_hashes(hours, "clients"))
    clients = keep("domain_clients", set_sizes(client_hashes, "clients"))
    everybody = keep("all_clients", all_clients(client_hashes))
    subdomains = keep("domain_subdomains", set_sizes(set_hashes(hours, "names"), "subdomains"))
    names = keep("tuple_domains", tuple_domains(named, domains))
    chain = [names.select("domain", "nkey")]
    for step in range(1, CHAIN + 1):
        chain.append(keep(f"aliases_{step}", aliases(chain[-1], tuples)))
    addresses = keep("domain_addresses", domain_addresses(tuples, *chain))
    dispersion = keep("domain_dispersion", ip_dispersion(addresses))
    sharing = keep("address_sharing", address_sharing(addresses))
    networked = keep("domain_networks", domain_networks(addresses, sharing, places))
    sets = keep("rrsets", rrsets(tuples, names))
    ttls = keep("domain_rrsets", domain_rrsets(sets))
    servers = keep("domain_servers", domain_servers(tuples, names))
    labelled = keep("label_places", label_places(domains))
    entropy = keep("domain_labels", name_entropy(labelled))
    longest = keep("domain_words", longest_words(labelled, words))
    parts = [
        asked,
        days,
        activity,
        clients,
        subdomains,
        dispersion,
        networked,
        ttls.rename(tuples_from="seen_from", tuples_to="seen_to"),
        servers,
        entropy,
        longest,
    ]
    known = keep("what_is_known", what_is_known(asked, names, words))
    made["domain_features"] = domain_features(domains, everybody, known, parts)
    return made
