"""Names from the operator's own data to train the name score with."""

from dnsvigil.api.interface import Answer, Parameters, TupleSource
from dnsvigil.api.parameters import only
from dnsvigil.config.collector import Config
from dnsvigil.features.popular import own_popular_domains
from dnsvigil.store.findings import dismissed_domains


def names(reader: TupleSource, _: Config, asked: Parameters) -> Answer:
    """Return the popular domains, how many were left out as suspected, and the domains of dismissed findings."""
    only(asked)
    own = own_popular_domains(reader.read, reader.tuples)
    dismissed = dismissed_domains(reader.read)
    return Answer({"popular": own.popular, "suspected": own.suspected, "dismissed": dismissed})
