"""stub"""


def network_page(record):
    return str(record)
