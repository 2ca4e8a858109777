from setuptools import Extension, setup

setup(name="probe", ext_modules=[Extension("probe", ["probe.c"])])
