"""Data sets: the record and the manifest (`schema`) and the pipeline that reads them.

Nothing heavy is imported here, so that `tfdeblur.data.schema` stays cheap for data preparation.
"""
