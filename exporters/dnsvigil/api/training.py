"""Names from the operator's own data to train the name score with."""

from dnsvigil.api.interface import Answer, Parameters, TupleSource
from dnsvigil.api.parameters import only
from dnsvigil.config.collector import Config
from dnsvigil.features.popular import own_popular_domains
from dnsvigil.store.findings import dismissed_domains


def names(reader: TupleSource, _: Config, asked: Parameters) -> Answer:
    """Return the popular domains, and the domains of dismissed findings."""
    only(asked)
    popular = own_popular_domains(reader.read, reader.tuples)
    return Answer({"popular": popular, "dismissed": dismissed_domains(reader.read)})
