"""One transfer at work: a machine of the protocol, driven over one link after the other.

    session.py    connects, sends, receives, keeps time, chooses the link
    serving.py    a sender's storage: reads what the receiver wants
    storing.py    a receiver's storage: checks, writes, makes durable, publishes

An activity (:mod:`nbferry.engine.activities`) makes a machine, a session and one of the other two, and runs them.
"""
