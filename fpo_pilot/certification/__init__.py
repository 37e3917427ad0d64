"""Safety certificates: a campaign of conditions and adversaries behind the declared shields, and the record of what it found.

``record`` and ``words`` need no torch: whoever audits a certificate reads it without.
"""
